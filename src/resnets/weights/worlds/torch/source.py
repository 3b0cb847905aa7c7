"""A network as one readable file of PyTorch, which imports torch alone: for whoever wants to read or ship just that.

Every line follows from the plan's rows: units that differ in no more than channels and a stride are one class, and what
a row reads says what its line is given. States have torchvision's names where torchvision has the network, else ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from resnets.architecture import Plan, ResNetSpec, Unit
from resnets.weights.worlds.torch.expressions import Writer, listed

THEIRS = {"norm": "bn", "shortcut": "downsample", "stage": "layer"}  # torchvision's words for ours
OURS = {word: word for word in THEIRS}

SAME = '''
def same(x, kernel, stride, value=0.0):
    """TensorFlow's SAME: as many windows as strides fit, what is missing split in two, an odd rest right and below."""
    missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]]
    (top, bottom), (left, right) = ((one // 2, one - one // 2) for one in missing)
    return F.pad(x, (left, right, top, bottom), value=value)

'''


def torch_source(plan: Plan, name: str) -> str:
    """The text of a file that defines `ResNet(num_classes)`.

    name    what its first line calls the network
    """
    name = name.replace("\\", "/").replace('"', "'")  # it stands in a docstring
    theirs = torchvision_has(plan.spec)
    words = THEIRS if theirs else OURS
    kinds = _kinds(plan)
    names = _class_names(kinds)
    whose = "torchvision's" if theirs else "resnets'"
    lines = [
        f'"""{name}: {plan.parameters:,} parameters; {plan.macs:,} multiply-adds for {plan.image_size} pixels a side.',
        "",
        f"It needs torch alone. Its state has {whose} names. Initial weights are torch's own: load a state.",
        '"""',
        "",
        *(["from collections import OrderedDict", ""] if not theirs else []),
        "import torch.nn.functional as F",
        "from torch import nn",
        "",
        *_helpers(plan, words),
    ]
    for key, units in kinds.items():
        lines += ["", *_unit_class(names[key], units, plan.spec, words), ""]
    body = _whole(plan, kinds, names, words, theirs)
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join([*lines, "", *body])) + "\n"


def torchvision_has(spec: ResNetSpec) -> bool:
    """Whether torchvision's ResNet class builds it: four stages of its widths, its stem, no choice but its own."""
    free = {"depths", "block", "groups", "width_per_group", "norm_momentum", "zero_init_last"}
    usual, chosen = ResNetSpec().to_dict(), spec.to_dict()
    return all(chosen[name] == usual[name] for name in usual.keys() - free) and len(spec.depths) == 4


@dataclass(frozen=True)
class Key:
    """What units of one class share: their rows without channels, and without the strides of convolutions."""

    rows: tuple[tuple[object, ...], ...]


def _key(unit: Unit) -> Key:
    inside = {row.role: row.role.removeprefix(f"{unit.role}.") for row in unit.rows}
    return Key(
        tuple(
            (
                *(inside[row.role], row.kind, tuple(inside.get(role, "") for role in row.reads), row.kernel),
                *(row.padding, row.dilation, row.groups, row.bias, row.pad_side),
                row.stride if row.kind not in ("conv", "norm", "relu", "add") else 0,
            )
            for row in unit.rows
        )
    )


def _kinds(plan: Plan) -> dict[Key, list[Unit]]:
    found: dict[Key, list[Unit]] = {}
    for stage in plan.stages:
        for unit in stage:
            found.setdefault(_key(unit), []).append(unit)
    return found


def _class_names(kinds: Mapping[Key, Sequence[Unit]]) -> dict[Key, str]:
    names: dict[Key, str] = {}
    for key, units in kinds.items():
        rows = {row.kind for row in units[0].shortcut}
        ways = {"avg_pool": "Pooled", "conv": "Projected", "pad": "Padded", "subsample": "Subsampled"}
        base = next((f"{ways[kind]}Unit" for kind in ways if kind in rows), "Unit")
        taken = [name for name in names.values() if name.rstrip("0123456789") == base]
        names[key] = base + (str(len(taken) + 1) if taken else "")
    return names


def _helpers(plan: Plan, words: Mapping[str, str]) -> Iterator[str]:
    spec = plan.spec
    if any(row.padding == "same" and row.kind != "avg_pool" for row in plan.rows):
        yield from SAME.rstrip("\n").split("\n")
    if _norm(spec, "channels") != "nn.BatchNorm2d(channels)":
        yield from (
            "",
            "def norm(channels):",
            f"    return nn.BatchNorm2d(channels, eps={spec.norm_eps!r}, momentum={spec.norm_momentum!r})",
            "",
        )
    if words is OURS:
        yield from (
            "",
            "def stage(*units):",
            '    return nn.Sequential(OrderedDict((f"unit{number}", unit) for number, unit in enumerate(units, 1)))',
            "",
        )


def _norm(spec: ResNetSpec, channels: str) -> str:
    usual = (spec.norm_eps, spec.norm_momentum) == (1e-5, 0.1)
    return f"nn.BatchNorm2d({channels})" if usual else f"norm({channels})"


def _unit_class(name: str, units: Sequence[Unit], spec: ResNetSpec, words: Mapping[str, str]) -> list[str]:
    """A class for all of these, which takes what differs among them."""
    first = units[0]
    taken = parameters(units)
    writer = Writer(first.rows, spec, words, _channels(first, taken), _strides(units), _norm)
    return [
        f"class {name}(nn.Module):",
        f'    """{_said(first)}"""',
        "",
        f"    def __init__(self, {', '.join(taken)}):",
        "        super().__init__()",
        *(f"        {line}" for line in writer.modules()),
        "",
        "    def forward(self, x):",
        *(f"        {line}" for line in writer.lines("x", "y", first.fork)),
    ]


def _said(unit: Unit) -> str:
    """What a class is, in a sentence."""
    kinds = {row.kind for row in unit.shortcut}
    if unit.addition is None:
        return "Without a shortcut."
    if not kinds:
        return "The shortcut is the identity."
    ways = {"avg_pool": "an average and a convolution", "conv": "a convolution", "pad": "zeros for the new channels"}
    return f"The shortcut: {next((words for kind, words in ways.items() if kind in kinds), 'every second pixel')}."


def _ends(unit: Unit) -> tuple[int, int, int, int]:
    """(channels that come in, inside, that go out; stride) of a unit."""
    convs = [row for row in unit.branch if row.kind == "conv"]
    strides = [row.stride for row in unit.branch if row.kind == "conv"]
    return unit.rows[0].in_channels, convs[0].out_channels, unit.output[0], max(strides)


def parameters(units: Sequence[Unit]) -> list[str]:
    """What the class of these units is given."""
    ends = [_ends(unit) for unit in units]
    found = ["outputs"]
    if any(inner != outer for _, inner, outer, _ in ends):
        found.insert(0, "inner")
    if any(inputs != outer for inputs, _, outer, _ in ends):
        found.insert(0, "inputs")
    return found + (["stride"] if _strides(units) else [])


def arguments(unit: Unit, taken: Sequence[str]) -> tuple[int, ...]:
    """What this unit gives to it."""
    given = zip(("inputs", "inner", "outputs", "stride"), _ends(unit), strict=True)
    return tuple(value for name, value in given if name in taken)


def _strides(units: Sequence[Unit]) -> set[str]:
    """The parts of a unit whose stride is not 1 in all of them."""
    return {
        row.role.removeprefix(f"{unit.role}.")
        for unit in units
        for row in unit.rows
        if row.kind == "conv" and row.stride > 1
    }


def _channels(unit: Unit, taken: Sequence[str]) -> dict[str, str]:
    """What each convolution of a unit gives, in the words of its class."""
    convs = [row for row in unit.branch if row.kind == "conv"]
    inner = "inner" if "inner" in taken else "outputs"
    found = {row.role: inner for row in convs[:-1]}
    found |= {row.role: "outputs" for row in (*convs[-1:], *unit.shortcut) if row.kind in ("conv", "pad")}
    return {unit.rows[0].reads[0]: "inputs" if "inputs" in taken else "outputs", **found}


def _whole(
    plan: Plan, kinds: Mapping[Key, Sequence[Unit]], names: Mapping[Key, str], words: Mapping[str, str], theirs: bool
) -> list[str]:
    """The class ResNet, and with our names those of its stem and head."""
    spec, classes = plan.spec, {plan.head[-1].role: "num_classes"}
    numbers = {row.role: str(row.out_channels) for row in plan.rows if row.kind == "conv"}
    numbers |= {plan.stem[0].reads[0]: str(plan.in_channels), plan.head[0].reads[0]: str(plan.head[0].in_channels)}
    parts = [Writer(rows, spec, words, numbers | classes, set(), _norm) for rows in (plan.stem, plan.head)]
    stem, head = parts
    made, called = [], []
    for number, stage in enumerate(plan.stages, 1):
        place = f"self.{words['stage']}{number}"
        calls = list(_calls(stage, kinds, names))
        before, behind = ("nn.Sequential(", ")") if theirs else ("stage(", ")")
        made += listed(f"{place} = {before}", calls, behind)
        called.append(f"x = {place}(x)")
    lines: list[str] = []
    if theirs:
        modules = [*stem.modules(), *made, *head.modules()]
        forward = [*stem.lines("x", "x", None, returns=False), *called, *head.lines("x", "x", None)]
    else:
        for title, writer, taken in (("Stem", stem, "self"), ("Head", head, "self, num_classes")):
            lines += [f"class {title}(nn.Module):", f"    def __init__({taken}):", "        super().__init__()"]
            lines += [f"        {line}" for line in writer.modules()]
            lines += ["", "    def forward(self, x):"]
            lines += [*(f"        {line}" for line in writer.lines("x", "x", None)), "", ""]
        modules = ["self.stem = Stem()", *made, "self.head = Head(num_classes)"]
        forward = ["x = self.stem(x)", *called, "return self.head(x)"]
    return [
        *lines,
        "class ResNet(nn.Module):",
        f"    def __init__(self, num_classes={plan.num_classes}):",
        "        super().__init__()",
        *(f"        {line}" for line in modules),
        "",
        "    def forward(self, x):",
        *(f"        {line}" for line in forward),
    ]


def _calls(stage: Sequence[Unit], kinds: Mapping[Key, Sequence[Unit]], names: Mapping[Key, str]) -> Iterator[str]:
    """The units of a stage as they are made: equal ones that follow each other in one expression."""

    def call(unit: Unit) -> str:
        key = _key(unit)
        return f"{names[key]}({', '.join(map(str, arguments(unit, parameters(kinds[key]))))})"

    for text, run in groupby(map(call, stage)):
        count = len(list(run))
        yield text if count == 1 else f"*({text} for _ in range({count}))"
