"""A classifier -> one file that other runtimes run, preprocessing included; it is read back before it counts.

The suffix says the format: .onnx, .xml (OpenVINO's, with its .bin beside it: see `pair`), .pt2 (torch.export), or
.safetensors, our own model file, which float16 makes half as large. One of the first three takes uint8 pictures
(N, H, W, 3) of any size as "images" and gives "probabilities" and "logits"; a raw one takes what
`Preprocessing.normalise` gives, as "input" (in .onnx and .xml of any height and width), and has "logits" alone.

A runtime that lowers the precision by itself lowers that of the preprocessing too: OpenVINO does on processors that
multiply in bfloat16, unless its reader sets INFERENCE_PRECISION_HINT to f32. No file can do that for its reader.
"""

from __future__ import annotations

import copy
import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets import __version__
from resnets.architecture.catalog import name_of
from resnets.errors import DataError, ParameterError
from resnets.inference import engines, pair
from resnets.inference.classifier import Classifier
from resnets.inference.lower import OUTPUT, lower
from resnets.inference.onnx_graph import PROBABILITIES, model
from resnets.inference.quantize import Quantisation
from resnets.inference.readback import Opened, check, runtimes
from resnets.inference.resample import TorchOps, normalised, probabilities, resized
from resnets.inference.runner import DTYPES
from resnets.machine import needs, openvino_core
from resnets.weights import save
from resnets.whole import staged

OWN = ".safetensors"  # our own model file
SUFFIXES = (".onnx", ".xml", ".pt2", OWN)
STORED = ("float32", "float16")  # what it stores weights in
METADATA = "resnets.json"  # where a .pt2 keeps it

Accept = Callable[[list[Opened], int], None]


def write(
    out: Path,
    classifier: Classifier,
    *,
    precision: str,
    quantisation: Quantisation | None = None,
    raw: bool = False,
    accept: Accept | None = None,
) -> list[dict[str, Any]]:
    """Export a classifier, and return what `readback.check` found.

    precision       float32, bfloat16 or int8; for our own file float32 or float16
    quantisation    for int8: the grids, and what stays float
    raw             a graph without preprocessing and softmax; the metadata stays
    accept          called with the runtimes and bytes of a file that has passed; what it raises refuses the file

    A file that is refused is deleted, and what stood at `out` stays.

    Raises DataError for a place that cannot be written or a suffix that is no format, ParameterError for a format that
    cannot hold the precision or whose package is missing, ExportError when the file does not hold up.
    """
    out = Path(out)
    check_place(out, precision, raw)
    with staged(out) as stage:
        if out.suffix == ".pt2":
            _write_pt2(stage.path, classifier, precision, raw)
        elif out.suffix == OWN:
            save(stage.path, classifier.model, half=precision == "float16")
        else:
            _write_onnx(stage.path, classifier, precision, quantisation, raw)
        stage.parts = tuple(sorted(stage.path.parent.iterdir(), reverse=True))  # the .xml, then the .bin it asks for
        opened = runtimes(stage.path, classifier.preprocessing, precision)
        table = check(opened, classifier, precision, quantisation)
        if accept is not None:
            accept(opened, sum(part.stat().st_size for part in stage.parts))
    return table


def check_place(out: Path, precision: str, raw: bool = False) -> None:
    """Raise what `write` raises for a place, a suffix or a precision that cannot be, before any work is done."""
    if out.suffix not in SUFFIXES:
        raise DataError(f"{out} has no suffix of a format: end it with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    if out.suffix == OWN:
        _check_own(precision, raw)
    elif precision == "float16":
        raise ParameterError(f"float16 is what a model file ({OWN}) can store: for {out.suffix} take bfloat16.")
    else:
        engines.check("torch", precision)
    if out.is_dir():
        raise DataError(f"{out} is a folder: name a file.")
    if not out.parent.is_dir():
        raise DataError(f"{out} cannot be written: there is no folder {out.parent}.")
    if out.suffix == ".pt2" and precision == "int8":
        raise ParameterError("int8 cannot be written as .pt2: take .onnx or .xml.")
    if out.suffix in (".onnx", ".xml"):
        needs("onnx", extra="export")
        needs("openvino" if out.suffix == ".xml" else "onnxruntime", extra="export")
    weights = out.with_suffix(".bin")
    if out.suffix == ".xml" and weights.exists() and not out.exists():
        raise DataError(
            f"{weights} is there and belongs to something else, and {out.name} needs that name: take another."
        )


def _check_own(precision: str, raw: bool) -> None:
    if precision not in STORED:
        raise ParameterError(f"A model file ({OWN}) stores {' or '.join(STORED)}, not {precision}.")
    if raw:
        raise ParameterError(f"A model file ({OWN}) has the preprocessing beside the network: leave `raw` out.")


_CALIBRATION = ("temperature", "unsure", "coverage")


def metadata(classifier: Classifier, precision: str) -> dict[str, str]:
    """What a file says of itself; lists and tables are JSON. Its training images cannot be known again by it."""
    origin = classifier.provenance.to_dict()
    if isinstance(origin.get("dataset"), dict):  # of a file that may hold anything
        origin["dataset"] = {key: value for key, value in origin["dataset"].items() if key != "contents"}
    return {
        "classes": json.dumps(classifier.classes),
        "preprocessing": json.dumps(classifier.preprocessing.to_dict()),
        # What can be applied to the probabilities outside; what is unlike all others only the model file can tell.
        "calibration": json.dumps({key: getattr(classifier.calibration, key) for key in _CALIBRATION}),
        "provenance": json.dumps(origin),
        "network": name_of(classifier.network.plan.spec) or "custom",
        "precision": precision,
        "resnets": __version__,
    }


def _write_onnx(
    path: Path, classifier: Classifier, precision: str, quantisation: Quantisation | None, raw: bool
) -> None:
    """An ONNX file, or OpenVINO's own of the same graph."""
    made = model(
        lower(classifier.network, classifier.preprocessing.image_size),
        precision=precision,
        quantisation=quantisation,
        preprocessing=None if raw else classifier.preprocessing,
        temperature=float(classifier.calibration.temperature),
        metadata=metadata(classifier, precision),
    )
    if path.suffix == ".onnx":
        path.write_bytes(made.SerializeToString())
        return
    openvino = needs("openvino", extra="export")
    read = openvino_core().read_model(made.SerializeToString())
    for key, text in metadata(classifier, precision).items():
        read.set_rt_info(text, ["resnets", key])
    read.set_rt_info(pair.NONE, list(pair.PLACE))
    try:
        openvino.save_model(read, path, compress_to_fp16=False)
    except RuntimeError as problem:  # all that it says of a full disk is "iostream error"
        raise OSError(errno.ENOSPC, "the system did not take all of it") from problem
    pair.sign(path)


class _Whole(nn.Module):
    """Preprocessing, network and softmax in one."""

    def __init__(self, classifier: Classifier, precision: str) -> None:
        super().__init__()
        self.dtype = DTYPES[precision]
        network = copy.deepcopy(classifier.network).cpu().to(self.dtype)
        # torch.export.save wants tensors in the order of their storage.
        self.network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.preprocessing = classifier.preprocessing
        self.temperature = float(classifier.calibration.temperature)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, H, W, 3) uint8 -> probabilities and logits, (N, classes) float32."""
        ops = TorchOps()
        x = normalised(ops, resized(ops, images, self.preprocessing), self.preprocessing)
        logits = self.network(x.to(self.dtype)).float()
        return {PROBABILITIES: probabilities(ops, logits, self.temperature), OUTPUT: logits}


class _Raw(_Whole):
    """The network alone."""

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) float32 -> logits (N, classes) float32."""
        return {OUTPUT: self.network(input.to(self.dtype)).float()}


def _write_pt2(path: Path, classifier: Classifier, precision: str, raw: bool) -> None:
    size, dynamic = classifier.preprocessing.image_size, torch.export.Dim.DYNAMIC
    module: nn.Module
    # Two pictures, of two different sides: what is 1, or equal, torch.export takes for what it always is.
    if raw:
        module, example, free = _Raw(classifier, precision), torch.zeros(2, 3, size, size), {0: dynamic}
    else:
        module, example = _Whole(classifier, precision), torch.zeros(2, size, size + 1, 3, dtype=torch.uint8)
        free = {0: dynamic, 1: dynamic, 2: dynamic}
    with torch.no_grad():
        program = torch.export.export(module.eval(), (example,), dynamic_shapes=(free,))
    # To memory first: where a file takes no more, torch ends the process.
    made = io.BytesIO()
    torch.export.save(program, made, extra_files={METADATA: json.dumps(metadata(classifier, precision))})
    path.write_bytes(made.getbuffer())
