"""An exported file, opened again in every runtime that is installed, and compared with the network it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.data.preprocess import Preprocessing
from resnets.errors import ExportError
from resnets.inference import pair
from resnets.inference.classifier import Classifier
from resnets.inference.lower import OUTPUT, lower
from resnets.inference.onnx_graph import IMAGES
from resnets.inference.quantize import Quantisation, Rounded
from resnets.machine import int8_saturates, needs, openvino_core
from resnets.weights import load

# How far a runtime's logits may lie from the network's own, as a share of their spread (zero included). In float32 only
# the order of additions differs. In bfloat16 and int8 runtimes round in different places, and how much that matters
# depends on the network: here a file is only asked whether it is the same network; accuracy is judged on data.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 0.1, "int8": 0.25}
# Where a picture is resized, a pixel that lies between two whole numbers may fall to the other side.
RESIZED_TOLERANCE = 1e-2
SATURATES = (
    " Runtimes add int8 in 16 bits on this processor, which has no VNNI, and overflow: export it on another one."
)

Run = Callable[[np.ndarray], Tensor]


def check(
    opened: Iterable[Opened], classifier: Classifier, precision: str, quantisation: Quantisation | None = None
) -> list[dict[str, Any]]:
    """Ask an exported file in its runtimes the same as the network, on pictures made for that.

    The network is run by torch in float32; for int8 with everything rounded that the file rounds.

    Returns a row for each runtime: {"runtime", "max_abs", "relative", "relative_resized", "argmax_agreement"}: the
    largest difference of a logit, also as a share of the logits' spread, without and with resizing, and for how many
    pictures the same logit is the largest. Raises ExportError when one cannot run the file or is beyond TOLERANCES.
    """
    p = classifier.preprocessing
    asked = list(_test_pictures(p))
    reference = _reference(classifier, quantisation if precision == "int8" else None)
    expected = [reference(p.normalise(_pixels(images, p))) for images in asked]
    wanted = torch.cat(expected)
    spread = max(float(wanted.max().clamp_min(0) - wanted.min().clamp_max(0)), 1e-6)
    limits = (TOLERANCES[precision], max(TOLERANCES[precision], RESIZED_TOLERANCE))
    exact = [images.shape[1:3] == (p.resize_to,) * 2 for images in asked]
    table = []
    for one in opened:
        try:
            given = [one(images) for images in asked]
        except Exception as problem:  # whatever a runtime throws: the file is of no use to it
            raise ExportError(f"{one.file}: {one.runtime} cannot run it ({_reason(problem)}).") from problem
        far = [float((mine - other).abs().max()) for mine, other in zip(given, expected, strict=True)]
        relative = [max(d for d, e in zip(far, exact, strict=True) if e is kind) / spread for kind in (True, False)]
        for share, limit in zip(relative, limits, strict=True):
            if not share <= limit:  # NaN is not either
                why = SATURATES if precision == "int8" and int8_saturates() else ""
                raise ExportError(
                    f"{one.file}: in {one.runtime} its logits lie {share:.2g} of their spread from the network's, "
                    f"and {limit:g} is the most for {precision}.{why}"
                )
        agree = float((torch.cat(given).argmax(1) == wanted.argmax(1)).double().mean())
        row = {"max_abs": max(far), "relative": relative[0], "relative_resized": relative[1], "argmax_agreement": agree}
        table.append({"runtime": one.runtime, **row})
    return table


@dataclass(frozen=True)
class Opened:
    """An exported file in a runtime: pictures (N, H, W, 3) uint8 RGB of any size -> logits (N, classes) float32."""

    file: str
    runtime: str
    raw: bool
    run: Run
    preprocessing: Preprocessing

    def __call__(self, images: np.ndarray) -> Tensor:
        """The logits of pictures of one size. For a raw file they are prepared here."""
        return self.logits(_pixels(images, self.preprocessing).numpy()) if self.raw else self.run(images)

    def logits(self, pixels: np.ndarray) -> Tensor:
        """As `Classifier.logits`: of pictures that `preprocessing.pixels` has prepared, (N, S, S, 3) uint8."""
        p = self.preprocessing
        if self.raw:
            return self.run(p.normalise(torch.from_numpy(np.array(pixels))).contiguous().numpy())
        # In the middle of a frame of the size that is not resized, they are what the file's own crop leaves.
        start, size = (p.resize_to - p.image_size) // 2, p.image_size
        frame = np.zeros((len(pixels), p.resize_to, p.resize_to, 3), np.uint8)
        frame[:, start : start + size, start : start + size] = pixels
        return self.run(frame)


def runtimes(path: Path, preprocessing: Preprocessing, precision: str) -> list[Opened]:
    """An exported file, opened in every installed runtime that reads it.

    preprocessing   that of the classifier which was exported
    precision       what OpenVINO computes the file's floats in: bfloat16, else float32

    Raises ResnetsError when no package is installed that reads the file, ExportError when one refuses it.
    """
    known = {".onnx": (_onnxruntime, _openvino), ".xml": (_openvino,), ".pt2": (_torch,), ".safetensors": (_resnets,)}
    readers = known[path.suffix]
    there = [reader for reader in readers if find_spec(reader.__name__[1:])]
    if not there:
        needs(readers[0].__name__[1:], extra="export")
    found = []
    for reader in there:
        name = "torch.export" if reader is _torch else reader.__name__[1:]
        try:
            entry, run = reader(path, precision)
        except ExportError:
            raise
        except Exception as problem:  # see `check`
            raise ExportError(f"{path.name}: {name} cannot read it ({_reason(problem)}).") from problem
        found.append(Opened(path.name, name, entry != IMAGES, run, preprocessing))
    return found


def _onnxruntime(path: Path, precision: str) -> tuple[str, Run]:
    session = needs("onnxruntime", extra="export").InferenceSession(path, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    return entry, lambda x: torch.from_numpy(session.run([OUTPUT], {entry: x})[0])


def _openvino(path: Path, precision: str) -> tuple[str, Run]:
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
    core = openvino_core()
    read = core.read_model(path)
    if path.suffix == ".xml":
        pair.check(path, read)
    compiled = core.compile_model(read, "CPU", hint)
    return compiled.input(0).any_name, lambda x: torch.from_numpy(compiled(x)[OUTPUT].copy())


def _torch(path: Path, precision: str) -> tuple[str, Run]:
    program = torch.export.load(path)
    module = program.module()

    def run(x: np.ndarray) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return module(torch.from_numpy(x))[OUTPUT]  # type: ignore[no-any-return]

    return program.graph_signature.user_inputs[0], run


def _resnets(path: Path, precision: str) -> tuple[str, Run]:
    network = load(path).network

    def run(x: np.ndarray) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return network(torch.from_numpy(x))  # type: ignore[no-any-return]

    return "input", run


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]


def _pixels(images: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    return torch.from_numpy(np.stack([preprocessing.pixels(Image.fromarray(image)) for image in images]))


def _test_pictures(preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Pictures (N, H, W, 3) uint8 that are always the same: five and one that need no resizing, two and one that do."""
    random = np.random.default_rng(0)
    side = preprocessing.resize_to
    for count, height, width in ((5, side, side), (1, side, side), (2, side + 13, 2 * side + 1), (1, 7, 3 * side)):
        coarse = random.integers(0, 256, (count, 5, 6, 3), dtype=np.uint8)
        size = (width, height)
        yield np.stack([np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BICUBIC)) for i in coarse])


def _reference(classifier: Classifier, quantisation: Quantisation | None) -> Callable[[Tensor], Tensor]:
    """What a file is compared with: the network's own modules, or its steps with everything rounded."""
    network = classifier.network
    if quantisation is not None:
        return Rounded(lower(network, classifier.preprocessing.image_size), quantisation)
    device = next(network.parameters()).device

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            return network(x.to(device)).cpu()  # type: ignore[no-any-return]

    return run
