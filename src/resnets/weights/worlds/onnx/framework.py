"""ONNX Runtime, which runs the file itself, a graph of the standard's operators. It computes in float32."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor

from resnets.weights.formats.onnx_file import OnnxGraph
from resnets.weights.formats.protobuf import BYTES, encoded, fields
from resnets.weights.formats.stored import Foreign, mapped
from resnets.weights.worlds.onnx.witness import by_role, fed
from resnets.weights.worlds.reference import SINGLE, Reference, UnfitError

GRAPH, OUTPUT, NAME = 7, 12, 1  # numbers of fields: a model's graph, a graph's output, an output's name
LARGEST = 2**31 - 1  # bytes of a model that is handed over
TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64}
BESIDE = "session.model_external_initializers_file_folder_path"


def reference(file: Foreign) -> Reference:
    """The file in a session of its own, with the activations of our roles as further outputs.

    Raises UnfitError for pictures of a type that is none of TYPES.
    """
    graph: OnnxGraph = file.documents["onnx"]
    if any(tensor.dtype == torch.float16 for tensor in graph.tensors.values()):
        raise UnfitError("it would compute in half precision")
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(BESIDE, str(file.files[0].parent.resolve()))
    names = sorted({name for name, _ in file.documents["reports"].values()})
    model = with_outputs(mapped(file.files[0]), [name for name in names if name not in graph.outputs])
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    if entry.type not in TYPES:
        raise UnfitError(f"its input is of the type {entry.type}")

    def run(x: Tensor) -> dict[str, Tensor]:
        given = session.run(names, {entry.name: x.to(TYPES[entry.type]).contiguous().numpy()})
        return {name: torch.from_numpy(one.copy()).double() for name, one in zip(names, given, strict=True)}

    version = runtime.__version__

    def reported(x: Tensor) -> dict[str, Tensor]:
        return by_role(file, fed(file, x, run))

    return Reference(f"ONNX Runtime {version}", reported, {"onnxruntime": version}, SINGLE)


def with_outputs(model: memoryview, names: list[str]) -> bytes:
    """A model as bytes, whose graph gives these values, too. Raises UnfitError for one that is too large."""
    if len(model) > LARGEST:
        raise UnfitError("it has more than 2 GB")
    more = b"".join(_field(OUTPUT, _field(NAME, name.encode())) for name in names)
    found: list[bytes | memoryview] = []
    for number, wire, value in fields(model):
        if number == GRAPH and isinstance(value, memoryview):
            found += [encoded(GRAPH << 3 | BYTES), encoded(len(value) + len(more)), value, more]
        elif isinstance(value, memoryview):
            found.append(_field(number, bytes(value)))
        else:
            found += [encoded(number << 3 | wire), encoded(value)]
    return b"".join(found)


def _field(number: int, value: bytes) -> bytes:
    return encoded(number << 3 | BYTES) + encoded(len(value)) + value
