"""Anybody's weights -> our model, and our model -> anybody's file.

Reading fills the network tensor by tensor, so that no second copy of the weights is ever in memory. Writing is
checked before it happens: the tensors under their new names must be recognised as the network they come from,
or that world has no such network and the reason is given.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.catalog import name_of, same_network
from resnets.errors import ModelFileError
from resnets.network import ResNet, with_new_head
from resnets.progress import say
from resnets.regular import open_regular
from resnets.weights.binary import is_binary
from resnets.weights.formats.stored import Foreign, Stored, unusable
from resnets.weights.locate import own_file
from resnets.weights.model import Model
from resnets.weights.open import open_file
from resnets.weights.provenance import Provenance
from resnets.weights.recognise import Recognised, recognise
from resnets.weights.worlds import Dialect, dialect_of
from resnets.weights.worlds.base import Part
from resnets.whole import staged


def read(
    path: str | Path,
    dialect: str | None = None,
    network: str | ResNetSpec | None = None,
    num_classes: int | None = None,
    prefix: str | None = None,
) -> Model:
    """A foreign file as our model: the network in evaluation mode, float32, on the CPU.

    dialect, network    what the file is, if the user knows better than the detection
    num_classes         replace the head by a fresh one for so many classes, unless it has them already
    prefix              what the tensors' names of the one network that is meant begin with

    Raises ModelFileError when the file cannot be opened, recognised or read; nothing is half-loaded.
    """
    found = recognise(open_file(path), dialect and dialect_of(dialect).name, network, prefix=prefix)
    return classifier_of(found, num_classes)


def classifier_of(found: Recognised, num_classes: int | None = None) -> Model:
    """The same of a recognised file. Raises ModelFileError for a head of one output."""
    if is_binary(found) and num_classes in (None, 1):
        raise unusable(
            found.file.path,
            "its head has one output, a yes or no by a sigmoid, of which a softmax makes 100 % for everything; name "
            "its two classes, the one that it says yes to last (`resnets convert SRC DST --class-names F`), or train "
            "on it as the weights to start from",
        )
    return model_of(found, num_classes)


def model_of(found: Recognised, num_classes: int | None = None) -> Model:
    """The model of a recognised file; that of a body has no classes, and a head of zeros for one."""
    file, dialect, spec = found.file, found.dialect, found.plan.spec
    proof = dialect.proof(file, found.plan, found.headless)
    network = _filled(found)
    proof(network)
    classes = () if found.headless else dialect.classes(file, found.plan.num_classes)
    if num_classes is not None and num_classes != len(classes):
        say(f"The head for {len(classes)} classes is replaced by a fresh one for {num_classes}: train it before use.")
        network = with_new_head(network, num_classes, seed=0).eval()
        classes = tuple(map(str, range(num_classes)))
    if rounded := sorted({str(stored.dtype).removeprefix("torch.") for stored in _weights(found)} - {"float32"}):
        say(f"{file.path.name} holds {' and '.join(rounded)}; the model is float32.")
    converted = {"dialect": dialect.name, "network": name_of(spec) or "custom", "files": digests(file.files)}
    return Model(network, classes, dialect.preprocessing(file, spec), provenance=Provenance(converted=converted))


def write(model: Model, path: str | Path, dialect: str, keep: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """Write a model as a file (or files, or a folder) of a dialect; the paths written.

    keep: files that must not be replaced, such as those that the model was read from

    Raises ModelFileError when that world has no such network, or the files cannot be written; what stood in
    their places before is then untouched.
    """
    path = Path(path)
    file, target = exported(model, path, dialect)
    spec = model.network.plan.spec
    if target.preprocessing(file, spec) != model.preprocessing:
        say(
            f"A {dialect} file cannot say how this model wants its pictures; whoever loads it must prepare them so: "
            f"{model.preprocessing.to_dict()}"
        )

    if (temperature := model.calibration.temperature) != 1:
        say(
            f"A {dialect} file cannot keep the temperature of this model, {temperature:.3g}, so that its probabilities "
            "there are others; `resnets convert SRC DST --to DIALECT --fold-temperature` divides the head by it."
        )

    def refuse(place: Path) -> None:
        if any(place.exists() and place.samefile(kept) for kept in keep) or own_file(place):
            raise ModelFileError(f"{place} is a source, or a model of resnets itself: choose another place.")

    with staged(path, refuse) as stage:  # a dialect may write several files
        stage.parts = target.write(stage.path, file, model.network.plan)
    return stage.places


def folded(model: Model) -> Model:
    """The model with its head divided by its temperature, which then is 1: other logits, the same probabilities."""
    network, calibration = copy.deepcopy(model.network), model.calibration
    with torch.no_grad():
        for parameter in network.head.get_submodule("linear").parameters():
            parameter.div_(calibration.temperature)
    halves = tuple(replace(h, temperature=h.temperature / calibration.temperature) for h in calibration.halves)
    return replace(model, network=network, calibration=replace(calibration, temperature=1.0, halves=halves))


def exported(model: Model, path: Path, dialect: str) -> tuple[Foreign, Dialect]:
    """(the file that a model becomes in a dialect, not yet written, the dialect).

    Raises ModelFileError when it would not be recognised as the network that it is.
    """
    target = dialect_of(dialect)
    p = model.network.plan
    if p.spec.order not in target.orders:
        raise ModelFileError(f"{dialect} has no network with order={p.spec.order!r}: choose another `target_dialect`.")
    naming = target.naming(p)
    tensors = {}
    for ours, tensor in model.network.state_dict().items():
        if theirs := naming(ours):
            arranged = _theirs(tensor, Part.of(ours), target, p)
            tensors[theirs] = Stored(tuple(arranged.shape), arranged.dtype, _reader(arranged))
    file = Foreign(path, target.containers[0], tensors, target.documents(model), ())
    _refuse_another_network(file, target, p)
    return file, target


def digests(files: tuple[Path, ...]) -> list[dict[str, Any]]:
    """Name, size and sha256 of each file."""
    listed = []
    for path in files:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        listed.append({"name": path.name, "bytes": path.stat().st_size, "sha256": digest})
    return listed


def _refuse_another_network(file: Foreign, dialect: Dialect, p: Plan) -> None:
    try:
        again = recognise(file, dialect.name).plan
    except ModelFileError as problem:
        rows = "\n".join(line for line in str(problem).splitlines() if line.startswith("  "))
        raise ModelFileError(
            f"{dialect.name} has no such network; choose another `target_dialect`. It would miss:\n{rows}"
        ) from problem
    if again.output_stride != p.output_stride:
        raise ModelFileError(
            f"{dialect.name} files cannot say output_stride={p.output_stride}: choose another `target_dialect`."
        )
    if not same_network(again.spec, p.spec):
        mine, theirs = p.spec.to_dict(), again.spec.to_dict()
        differing = [f"{key}={mine[key]!r} (there {theirs[key]!r})" for key in mine if mine[key] != theirs[key]]
        raise ModelFileError(
            f"{dialect.name} has no such network: {', '.join(differing)}. Its code would compute something else with "
            "these weights; choose another `target_dialect`."
        )


def _filled(found: Recognised) -> ResNet:
    """The network with the file's weights; takes memory only after every shape has been compared."""
    with torch.device("meta"):
        network = ResNet(found.plan)
    state = {}
    for ours, wanted in network.state_dict().items():
        # Zero stay torch's count of training steps, which most other worlds do not keep, and the head of a body.
        if ours not in found.names:
            state[ours] = torch.zeros(wanted.shape, dtype=wanted.dtype)
        else:
            stored = found.file.tensors[found.names[ours]]
            arranged = _ours(stored.read(), Part.of(ours), found.dialect, wanted.shape)
            state[ours] = arranged.to(wanted.dtype).contiguous()
            low, high = map(float, state[ours].aminmax())  # which are NaN if one is
            if not math.isfinite(low + high) or (ours.endswith("running_var") and low < 0):
                raise unusable(
                    found.file.path, f"{found.names[ours]} has values that are not finite, or a variance below 0"
                )
    network.load_state_dict(state, assign=True)  # `to_empty` would do, but imports sympy, which takes a second
    return network.eval()


def _ours(tensor: Tensor, part: Part, dialect: Dialect, shape: torch.Size) -> Tensor:
    if dialect.transposed and part.leaf == "weight":
        tensor = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.mT if tensor.ndim == 2 else tensor
    return tensor.reshape(shape)


def _theirs(tensor: Tensor, part: Part, dialect: Dialect, p: Plan) -> Tensor:
    if dialect.transposed and part.leaf == "weight":
        tensor = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.mT if tensor.ndim == 2 else tensor
    if part.kind == "linear" and part.leaf == "weight":
        tensor = tensor.reshape(dialect.head_shape(p, tuple(tensor.shape)))
    return tensor


def _reader(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor.detach().cpu().contiguous()


def _weights(found: Recognised) -> list[Stored]:
    counters = ("num_batches_tracked",)
    return [found.file.tensors[theirs] for ours, theirs in found.names.items() if not ours.endswith(counters)]
