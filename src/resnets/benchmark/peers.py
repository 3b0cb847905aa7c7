"""The other sides of a benchmark: what somebody does with torchvision, timm, ONNX Runtime and OpenVINO by hand.

They get torch's default allocator and their own best practice; the network is torchvision's wherever it has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.benchmark.job import Job, Maker, UnableError, Work, noise
from resnets.benchmark.plain import TRAINING, eager, open_model, training
from resnets.whole import workspace

PRECISIONS = {
    "torchvision": ("float32", "bfloat16"),
    "timm": ("float32", "bfloat16"),
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}
CALIBRATION = 16
_declared: list[torch.library.Library] = []


def maker(job: Job) -> Maker:
    """How a peer works. Raises UnableError: it does not know the network, or the task; ImportError: it is not here."""
    if job.task == "input":
        return _transforms(job)
    if job.task == "files":
        return _folder(job)
    if job.task in TRAINING:
        return training(_network(job), job)
    match job.who:
        case "onnxruntime":
            return _onnxruntime(job)
        case "openvino":
            return _openvino(job)
    return eager(_network(job), job)


def torchvision() -> Any:
    """The package. Beside a torch for processors alone two of its operators have to be declared first."""
    if not _declared and not torch.cuda.is_available():
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        _declared.append(library)  # they last as long as it does
    return import_module("torchvision")


def _network(job: Job) -> nn.Module:
    if job.who == "timm":
        torchvision()  # which timm imports
        timm = import_module("timm")
        if job.catalog not in timm.list_models():
            raise UnableError(f"it has no {job.catalog or 'such network'}")
        return timm.create_model(job.catalog, num_classes=job.classes)  # type: ignore[no-any-return]
    models = torchvision().models
    if job.catalog not in models.list_models():
        raise UnableError(f"it has no {job.catalog or 'such network'}")
    return models.get_model(job.catalog, num_classes=job.classes)  # type: ignore[no-any-return]


def _usual(job: Job) -> nn.Module:
    """What a raw runtime is given: torchvision's network, or ours where it has none."""
    try:
        return _network(job).eval()
    except (ImportError, UnableError):
        return open_model(job.model, job.image_size).network.eval()


def _onnxruntime(job: Job) -> Maker:
    runtime = import_module("onnxruntime")
    data = _exported(_usual(job), job.image_size)
    if job.precision == "int8":
        data = _quantised(data, job.image_size)
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def make(batch: int) -> Work:
        x = noise(batch, job.image_size).numpy()
        return lambda: session.run(None, {"input": x})

    return make


def _exported(network: nn.Module, size: int) -> bytes:
    """torch.onnx's export with batches of any size."""
    any_batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.onnx.export(
        network, (noise(2, size),), dynamo=True, dynamic_shapes=any_batch, input_names=["input"], verbose=False
    )
    assert program is not None
    return program.model_proto.SerializeToString()  # type: ignore[no-any-return]


def _quantised(data: bytes, size: int) -> bytes:
    """ONNX Runtime's own static quantisation: QDQ, uint8 activations, int8 weights, per channel."""
    q = import_module("onnxruntime.quantization")
    images = noise(CALIBRATION, size).split(8)  # type: ignore[no-untyped-call]

    class Reader(q.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"input": batch.numpy()}

    with workspace() as temporary:
        raw, prepared, done = (temporary / f"{name}.onnx" for name in ("raw", "prepared", "done"))
        raw.write_bytes(data)
        import_module("onnxruntime.quantization.shape_inference").quant_pre_process(raw, prepared)
        q.quantize_static(
            prepared,
            done,
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
        )
        return done.read_bytes()


def _openvino(job: Job) -> Maker:
    vino = import_module("openvino")
    model = vino.convert_model(_usual(job), example_input=noise(2, job.image_size))
    if job.precision == "int8":
        nncf = import_module("nncf")
        images = noise(CALIBRATION, job.image_size).split(1)  # type: ignore[no-untyped-call]
        data = nncf.Dataset([image.numpy() for image in images])
        model = nncf.quantize(model, data, subset_size=CALIBRATION)

    def make(batch: int) -> Work:
        x = noise(batch, job.image_size).numpy()
        model.reshape([batch, 3, job.image_size, job.image_size])
        hint = "bf16" if job.precision == "bfloat16" else "f32"
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        compiled = vino.compile_model(model, "CPU", options)
        return lambda: compiled([x])

    return make


def _transform(job: Job) -> Any:
    torchvision()
    transforms = import_module("torchvision.transforms")
    size = job.image_size
    return transforms.Compose([transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)])


def _transforms(job: Job) -> Maker:
    """From a file's bytes to a picture of the network's size, with Pillow and torchvision's transforms."""
    from PIL import Image

    if job.who != "torchvision":
        raise UnableError("it prepares no pictures of its own")
    transform = _transform(job)
    data = [Path(file).read_bytes() for file in job.files]

    def read(content: bytes) -> Any:
        return transform(Image.open(BytesIO(content)).convert("RGB"))

    return lambda batch: lambda: [read(data[i % len(data)]) for i in range(batch)]


class _Pictures(torch.utils.data.Dataset[Tensor]):
    def __init__(self, job: Job) -> None:
        transforms = import_module("torchvision.transforms")
        tail = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
        self.files, self.transform = job.files, transforms.Compose([_transform(job), *tail])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        return self.transform(Image.open(self.files[index]).convert("RGB"))  # type: ignore[no-any-return]


def _folder(job: Job) -> Maker:
    """From files to labels: a DataLoader with two workers before the network."""
    if job.who not in ("torchvision", "timm"):
        raise UnableError("it reads no files")
    network = _network(job).eval()
    pictures = _Pictures(job)

    def make(batch: int) -> Work:
        def run() -> list[Tensor]:
            loader: Iterable[Tensor] = torch.utils.data.DataLoader(pictures, batch, num_workers=2)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bfloat16"):
                return [network(images).softmax(1).topk(1).indices for images in loader]

        return run

    return make
