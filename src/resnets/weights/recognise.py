"""Which dialect, which network, how many classes: from the tensors of a file alone.

Every dialect is asked what names it would expect; `infer` reads the spec off the shapes found under them; the
plan of that spec must then account for every tensor of the file, and the file for every tensor of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from resnets.architecture import Plan, ResNetSpec, plan
from resnets.architecture.catalog import name_of, spec_of
from resnets.errors import ModelFileError, SpecError, nearest
from resnets.network import ResNet
from resnets.progress import say
from resnets.text import printable
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.worlds import DIALECTS, Dialect
from resnets.weights.worlds.base import Naming, Part
from resnets.weights.worlds.infer import MissingError, ShapeOf, infer
from resnets.weights.worlds.torch import stated
from resnets.weights.worlds.torch.layers import NoMatchError
from resnets.weights.worlds.torch.structure import by_structure
from resnets.weights.worlds.torch.within import CONTAINERS, features, linears, within

MAX_LISTED = 20  # rows of a table of tensors that do not fit
GRAPHS = ("caffe", "onnx")  # dialects whose files have a graph, which is compared
HEAD = "head.linear."  # what the names of a head's tensors begin with
COUNTER = "num_batches_tracked"  # torch's count of training steps: no weight, and not in every file


class UnrecognisedError(ModelFileError):
    """The tensors are no network's under the names of any dialect."""


@dataclass(frozen=True)
class Recognised:
    """A file understood: `names` says for each of our state names under which name `file` has it.

    A body without a head has no names for that; its plan has a head of one class.
    """

    dialect: Dialect
    file: Foreign
    plan: Plan
    names: Mapping[str, str]

    @property
    def headless(self) -> bool:
        """Whether it is a body without a head."""
        return f"{HEAD}weight" not in self.names


@dataclass
class _Misfit:
    """How far one reading of a file got: what it could not place."""

    dialect: str
    plan: Plan
    matched: int
    rows: list[str]


def recognise(
    file: Foreign,
    dialect: str | None = None,
    network: str | ResNetSpec | None = None,
    body: bool = False,
    prefix: str | None = None,
) -> Recognised:
    """Understand an opened file.

    dialect, network    what the user knows better (`--from`, `--model`); otherwise they are detected
    body                whether a body without a head will do, too
    prefix              what the tensors' names of the one network that is meant begin with (`--prefix`)

    Raises ModelFileError with a table of the tensors that are missing, misshapen or extra in the reading that
    explains most of the file, or the reason why none of the dialects reads it; SpecError for an unknown network.
    """
    file = within(file, prefix)
    try:
        found = _recognised(file, dialect, network, False)
    except ModelFileError as refused:
        found = _otherwise(file, dialect, network, refused)
    if count := len(found.file.documents.get("identities", ())):
        say(
            f"{file.path.name}: {count} of its norms are missing, as if folded into the convolutions, and identities "
            "stand in: training goes on from there as it would not from the network that it was."
        )
    if body or not found.headless:
        return found
    raise ModelFileError(
        f"{file.path} is the body of {name_of(found.plan.spec) or 'a residual network'} without a head, which tells no "
        "classes apart: train on it, with it as `weights`."
    )


def _otherwise(
    file: Foreign, dialect: str | None, network: str | ResNetSpec | None, refused: ModelFileError
) -> Recognised:
    """What else a file may be that is no network under known names: a body without a head, or one by its structure.

    Raises the first refusal, with what its structure says.
    """
    with suppress(ModelFileError, SpecError):
        return _recognised(file, dialect, network, True)
    if dialect is not None or not isinstance(refused, UnrecognisedError):
        raise refused
    try:
        renamed = by_structure(file, network is not None and spec_of(network).shortcut == "avgpool")
    except NoMatchError as problem:
        first, mark, rest = str(refused).partition(" of a dialect that is known:\n")
        raise (
            ModelFileError(f"{first}: by its structure, {problem}. Nor is it one of a dialect that is known:\n{rest}")
            if mark
            else refused
        ) from None
    headless = all(len(stored.shape) != 2 for stored in renamed.tensors.values())
    found = _recognised(renamed, None, network, headless)
    _say_guessed(found)
    return found


def _say_guessed(found: Recognised) -> None:
    """What to know of a network that was recognised by its structure."""
    file, spec = found.file, found.plan.spec
    assumed = "how its layers are joined is" if file.documents.get("modules") else "strides, pool and activation are"
    say(
        f"{file.path.name} has names of no known kind: by the order and the shapes of its tensors it is "
        f"{name_of(spec) or 'a residual network'}; {assumed} assumed."
    )


def _recognised(file: Foreign, dialect: str | None, network: str | ResNetSpec | None, headless: bool) -> Recognised:
    asked = DIALECTS if dialect is None else {dialect: DIALECTS[dialect]}
    if network is not None:
        spec_of(network)  # an unknown name is the user's mistake, not the file's
    misfits: list[_Misfit] = []
    reasons: list[str] = []
    for candidate in sorted(asked.values(), key=lambda candidate: not candidate.claims(file)):
        if file.container not in candidate.containers:
            reasons.append(f"{candidate.name}: its files are {' or '.join(candidate.containers)}")
            continue
        understood = candidate.prepare(file)
        for naming in candidate.namings(understood):
            prepared = _with_head(naming, understood)
            try:
                p = _plan(prepared, candidate, naming, network, headless)
            except MissingError as problem:
                reasons.append(f"{candidate.name}: it has no {naming(problem.state_name) or problem.state_name}")
                continue
            except SpecError as problem:
                reasons.append(f"{candidate.name}: {problem}")
                continue
            names = {ours: naming(ours) for ours in state_shapes(p) if not (headless and ours.startswith(HEAD))}
            if headless:
                prepared = _without_heads(prepared, names)
            rows, matched = _differences(prepared, candidate, p, names)
            if not rows:
                if network is not None and candidate.borrowed and "config" not in prepared.documents:
                    prepared = stated.named(prepared, p.spec)
                found = {ours: theirs for ours, theirs in names.items() if theirs in prepared.tensors}
                candidate.check(prepared, p, found)
                if p.dilates_unasked and candidate.name not in GRAPHS and "keras" not in prepared.documents:
                    reasons.append(
                        f"{candidate.name}: its code halves the resolution more often than five times, by "
                        "strides, and ours goes on by dilation"
                    )
                    continue
                return Recognised(candidate, prepared, p, found)
            misfits.append(_Misfit(candidate.name, p, matched, rows))
    raise _not_recognised(file, misfits, reasons)


def _with_head(naming: Naming, file: Foreign) -> Foreign:
    """The file with its one linear layer under the name that this naming has for a head, where it has another."""
    wanted = naming(f"{HEAD}weight").removesuffix("weight")
    flat = [name for name, stored in file.tensors.items() if len(stored.shape) == 2]
    if file.container not in CONTAINERS or not wanted or f"{wanted}weight" in file.tensors or len(flat) != 1:
        return file
    (head,) = linears({flat[0]: file.tensors[flat[0]]}, features(file.tensors)) or [""]
    theirs = {f"{head}.{leaf}": f"{wanted}{leaf}" for leaf in ("weight", "bias")} if head else {}
    return replace(file, tensors={theirs.get(name, name): stored for name, stored in file.tensors.items()})


def _without_heads(file: Foreign, names: Mapping[str, str]) -> Foreign:
    """Without the two and more linear layers that a contrastive loss is given, where a head would be."""
    tops = {theirs.partition(".")[0] for theirs in names.values()}
    others = {name: t for name, t in file.tensors.items() if name.partition(".")[0] not in tops}
    if (
        max((len(t.shape) for t in others.values()), default=0) != 2
        or sum(len(t.shape) == 2 for t in others.values()) < 2
    ):
        return file  # of one, it is half a head; of more dimensions, another network's
    return replace(file, tensors={name: t for name, t in file.tensors.items() if name not in others})


def state_shapes(p: Plan) -> dict[str, tuple[int, ...]]:
    """Our state names with their shapes."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in ResNet(p).state_dict().items()}


def our_shape(part: Part, stored: Stored, transposed: bool) -> tuple[int, ...]:
    """The shape of a stored tensor as we lay it out: convolutions (O, I, H, W), the head (O, I)."""
    shape = stored.shape
    if part.leaf == "weight" and transposed:
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
    if part.kind == "linear" and shape[2:] == (1, 1):  # a head written as a 1x1 convolution
        shape = shape[:2]
    return shape


def _plan(file: Foreign, dialect: Dialect, naming: Naming, network: str | ResNetSpec | None, headless: bool) -> Plan:
    def shape_of(ours: str) -> tuple[int, ...] | None:
        if headless and ours.startswith(HEAD):
            return (1, 1)
        stored = file.tensors.get(naming(ours))
        return None if stored is None else our_shape(Part.of(ours), stored, dialect.transposed)

    if network is not None:
        head, in_channels = shape_of("head.linear.weight"), _in_channels(shape_of)
        if head is None or in_channels is None:
            raise MissingError("stem.conv.weight" if head else "head.linear.weight")
        return plan(network, num_classes=head[0], in_channels=in_channels)
    spec, classes, in_channels = infer(shape_of, dialect.fields(file))
    return plan(spec, num_classes=classes, in_channels=in_channels)


def _in_channels(shape_of: ShapeOf) -> int | None:
    stem = shape_of("stem.conv.weight") or shape_of("stem.conv1.weight")
    return stem[1] if stem is not None and len(stem) == 4 else None


def _differences(file: Foreign, dialect: Dialect, p: Plan, names: Mapping[str, str]) -> tuple[list[str], int]:
    """(a row for each tensor that does not fit, how many do)."""
    missing, misshapen, matched = [], [], 0
    for ours, shape in state_shapes(p).items():
        if (theirs := names.get(ours)) is None:
            continue
        stored = file.tensors.get(theirs)
        if stored is None:
            if not ours.endswith(COUNTER):
                missing.append((theirs or "(no such tensor in this dialect)", shape, ours))
        elif not (stored.dtype.is_floating_point or ours.endswith(COUNTER)):
            misshapen.append(
                f"misshapen  {theirs}  is {str(stored.dtype).removeprefix('torch.')}, and a weight is a float"
            )
        elif (found := our_shape(Part.of(ours), stored, dialect.transposed)) != shape:
            misshapen.append(
                f"misshapen  {theirs}  {stored.shape}: {ours} is {shape}, this is {found} as we lay it out"
            )
        else:
            matched += 1
    used = set(names.values())
    extra = {name: file.tensors[name].shape for name in file.tensors if name not in used}
    rows = [
        f"missing    {theirs}  {shape}: {ours}.{nearest(theirs, extra) if number < MAX_LISTED else ''}"
        for number, (theirs, shape, ours) in enumerate(missing)
    ]
    wanted = [theirs for theirs, *_ in missing]
    rows += misshapen
    rows += [
        f"extra      {name}  {shape}{nearest(name, wanted) if number < MAX_LISTED else ''}"
        for number, (name, shape) in enumerate(extra.items())
    ]
    return rows, matched


def _not_recognised(file: Foreign, misfits: list[_Misfit], reasons: list[str]) -> UnrecognisedError:
    if not misfits:
        some = printable(", ".join(list(file.tensors)[:4]))
        why = "\n".join(f"  {printable(reason)}" for reason in dict.fromkeys(reasons))
        return UnrecognisedError(
            f"{file.path} ({len(file.tensors)} tensors: {some}, ...) is no residual network of a dialect that is "
            f"known:\n{why}\nIf you know which it is, say so with `source_dialect` and `network`."
        )
    best = max(misfits, key=lambda misfit: (misfit.matched, -len(misfit.rows)))
    rows = list(_limited(best.rows))
    return UnrecognisedError(
        f"{file.path} reads best as {best.dialect}, with {best.matched} tensors in place, but these do not fit:\n"
        + "\n".join(f"  {printable(row)}" for row in rows)
        + "\nNothing was loaded. If it is another network or dialect, say so with `source_dialect` and `network`."
    )


def _limited(rows: list[str]) -> Iterator[str]:
    yield from rows[:MAX_LISTED]
    if len(rows) > MAX_LISTED:
        yield f"... and {len(rows) - MAX_LISTED} more"
