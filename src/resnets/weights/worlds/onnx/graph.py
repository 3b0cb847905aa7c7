"""The graph of an ONNX file beside that of a plan: layers with weights and sums, their settings and what they read.

Both are said in the same words, whichever side they come from, and what differs is listed. A norm that was folded into
the convolution before it is passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from resnets.architecture import Plan, Row
from resnets.architecture.rows import INPUT
from resnets.weights.worlds.onnx.flow import Step
from resnets.weights.worlds.topology import PICTURE

Facts = dict[str, dict[str, str]]  # role -> what about it -> how it is
MEAN, PAIRS = "the mean", "the average of 2x2"
ROLED = ("conv", "norm", "add", "linear")  # kinds of rows that have a role in a graph
RULES = {("1", False): "torch", ("same", False): "same", ("0", True): "ceil", ("0", False): "valid"}


def of_file(steps: Sequence[Step], roles: Mapping[str, int]) -> Facts:
    """What the steps that have a role are."""
    named = {number: role for role, number in roles.items()}

    def said(number: int) -> str:
        if number == PICTURE:
            return INPUT
        if number in named:
            return named[number]
        step = steps[number]
        inner = said(step.reads[0])
        return inner if step.kind == "relu" and inner.startswith("relu of ") else f"{_words(step)} of {inner}"

    found: Facts = {}
    for role, number in roles.items():
        step = steps[number]
        reads = {"reads": " and ".join(sorted(said(one) for one in step.reads))}
        found[role] = {**(_conv(step) if step.kind == "conv" and role != "head.linear" else {}), **reads}
        if "eps" in step.settings:
            found[role]["epsilon"] = f"{step.settings['eps']:g}"
    return found


def of_plan(plan: Plan, missing: Collection[str]) -> Facts:
    """The same of a plan. missing: roles of norms that the file has not."""
    rows = {row.role: row for row in plan.rows}

    def said(role: str) -> str:
        if role == INPUT or (rows[role].kind in ROLED and role not in missing):
            return role
        row = rows[role]
        inner = said(row.reads[0])
        if role in missing or (row.kind == "relu" and inner.startswith("relu of ")):
            return inner
        return f"{_row_words(row)} of {inner}"

    found: Facts = {}
    for role, row in rows.items():
        if row.kind in ROLED and role not in missing:
            found[role] = {"reads": " and ".join(sorted(said(one) for one in row.reads))}
            if row.kind == "norm":
                found[role]["epsilon"] = f"{plan.spec.norm_eps:g}"
            if row.kind == "conv":
                found[role] |= {
                    "stride": str(row.stride),
                    "padding": str(row.padding),
                    "dilation": str(row.dilation),
                    "groups": str(row.groups),
                }
    return found


def differences(file: Facts, network: Facts) -> Iterator[tuple[str, str, str]]:
    """(role, what the file says, what the network says) wherever they do not say the same."""
    for role in [*network, *(role for role in file if role not in network)]:
        if role not in file:
            yield role, "no such layer", "a layer"
        elif role not in network:
            yield role, "a layer", "no such layer"
        else:
            for what, here in network[role].items():
                there = file[role].get(what, here)  # a norm that only scales has no epsilon
                if there != here:
                    yield role, f"{what} {there}", f"{what} {here}"


def rule_of(step: Step) -> str:
    """How a pool or convolution pads: pixels on each side, the name of a rule of the grammar, or other words."""
    s = step.settings
    kernel, stride, pads, apart = s["kernel"], s["stride"], s["pads"], s.get("dilation", (1, 1))
    unstrided = stride == (1, 1) or kernel == (1, 1)
    if pads == ("SAME_UPPER",) or (pads == ("SAME_LOWER",) and unstrided):
        return str((kernel[0] - 1) * apart[0] // 2) if unstrided else "same"
    if len(pads) != 4:
        return str(pads[0])
    if len(set(pads)) == 1:
        return str(pads[0])
    missing = [max(k - step, 0) for k, step in zip(kernel, stride, strict=True)]
    halves = tuple(one // 2 for one in missing) + tuple(one - one // 2 for one in missing)
    return "same" if pads == halves else "x".join(map(str, pads))


def pool_rule(step: Step) -> str:
    """The rule of the grammar that a stem's pool follows, or other words."""
    s, rule = step.settings, rule_of(step)
    if (s["method"], s["kernel"], s["stride"]) == ("max", (3, 3), (2, 2)):
        if s["zeros"]:
            return "zero" if rule == "1" and not s["ceil"] else f"zeros {rule}"
        if found := RULES.get((rule, s["ceil"])):
            return found
    return f"{rule}{', rounded up' * s['ceil']}"


def averages_pairs(step: Step) -> bool:
    """Whether a pool is the average of 2x2 pixels, the last row and column alone where the size is odd.

    One that rounds down does the same where the network runs at all: the branch rounds up.
    """
    s = step.settings
    windows = s["method"] == "average" and s["kernel"] == s["stride"] == (2, 2)
    return windows and not s["zeros"] and rule_of(step) in ("0", "same")


def _conv(step: Step) -> dict[str, str]:
    s = step.settings
    return {
        "stride": _square(s["stride"]),
        "padding": rule_of(step),
        "dilation": _square(s["dilation"]),
        "groups": str(s["groups"]),
    }


def _square(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}x{sides[1]}"


def _words(step: Step) -> str:
    s: Mapping[str, Any] = step.settings
    match step.kind:
        case "pool" if s["method"] == "mean":
            return MEAN
        case "pool" if averages_pairs(step):
            return PAIRS
        case "pool":
            return _pool(s["method"], _square(s["kernel"]), _square(s["stride"]), pool_rule(step))
        case "subsample":
            return _every(_square(s["stride"]))
        case "pad":
            return _zeros(s["before"], s["behind"])
    return step.kind


def _row_words(row: Row) -> str:
    match row.kind:
        case "global_pool":
            return MEAN
        case "avg_pool":
            return PAIRS if row.stride == 2 else "an average that keeps the size"
        case "max_pool":
            rule = RULES.get((str(row.padding), False), str(row.padding))
            return _pool("max", str(row.kernel), str(row.stride), rule)
        case "subsample":
            return _every(str(row.stride))
        case "pad":
            zeros = _zeros(*row.zero_channels)
            return f"{zeros} of {_every(str(row.stride))}" if row.stride > 1 else zeros
    return row.kind


def _pool(method: str, kernel: str, stride: str, rule: str) -> str:
    return f"the {method} of {kernel} with stride {stride}, padding {rule}"


def _every(stride: str) -> str:
    return f"every pixel at a step of {stride}"


def _zeros(before: int, behind: int) -> str:
    return f"{before} and {behind} new channels"
