"""The steps that look at pixels: paddings, pools, means, what takes every n-th of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from resnets.weights.formats.onnx_file import OnnxNode
from resnets.weights.worlds.onnx.flow import Step, Value, known, padding_of, strides_of
from resnets.weights.worlds.onnx.ops import pads_of, pair
from resnets.weights.worlds.onnx.shaping import UnknownError, axes_of
from resnets.weights.worlds.topology import PICTURE


class Windows:
    """Steps as they are found.

    steps   in the order in which they run
    given   by step: the name of the value that it gives, and whether its channels are last
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.given: dict[int, tuple[str, bool]] = {}

    def _add(self, node: OnnxNode, step: Step, x: Value, **changes: Any) -> Value:
        self.steps.append(step)
        number = len(self.steps) - 1
        self.given[number] = (node.outputs[0], x.last)
        return replace(x, step=number, zeros=(0, 0, 0, 0), least=False, **changes)

    def _first(self, node: OnnxNode, x: Value) -> None:
        if x.last:
            raise UnknownError(f"{node.said} reads channels where pixels are")

    def _around(self, node: OnnxNode, x: Value, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Any, ...]:
        """Pads as (top, left, bottom, right), or the name of a rule that depends on the size."""
        how = node.attributes.get("auto_pad", "NOTSET")
        if how in ("NOTSET", "VALID"):
            (top, bottom), (left, right) = pads_of(node, (1, 1), kernel, stride)
            return tuple(one + more for one, more in zip((top, left, bottom, right), x.zeros, strict=True))
        if any(x.zeros):
            raise UnknownError(f"{node.said} pads what is padded")
        return (how,)

    def _pool(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        self._first(node, x)
        kernel, stride = pair(node, "kernel_shape"), pair(node, "strides")
        if (
            kernel == (1, 1)
            and not any(x.zeros)
            and self._around(node, x, kernel, stride) in ((0,) * 4, ("SAME_UPPER",))
        ):
            return self._subsampled(node, x, stride)
        if pair(node, "dilations") != (1, 1):
            raise UnknownError(f"{node.said} dilates, and no pool of a residual network does")
        average = node.op == "AveragePool"
        own = any(node.attributes.get("pads") or ()) or node.attributes.get("auto_pad", "NOTSET").startswith("SAME")
        settings: dict[str, Any] = {
            "method": "average" if average else "max",
            "kernel": kernel,
            "stride": stride,
            "pads": self._around(node, x, kernel, stride),
            "ceil": bool(node.attributes.get("ceil_mode", 0)),
            "zeros": (any(x.zeros) and not x.least)
            or (average and own and bool(node.attributes.get("count_include_pad", 0))),
        }
        if any(x.zeros) and own:
            raise UnknownError(f"{node.said} pads what is padded")
        return self._add(node, Step(node.said, "pool", (x.step,), settings), x)

    def _subsampled(self, node: OnnxNode, x: Value, stride: tuple[int, int]) -> Value:
        """Every n-th row and column; what an earlier step took of one of them joins it."""
        before = self.steps[x.step] if x.step != PICTURE else None
        if before and before.kind == "subsample" and 1 in before.settings["stride"]:
            (a, b), (c, d) = before.settings["stride"], stride
            self.steps[x.step] = replace(before, settings={"stride": (a * c, b * d)})
            self.given[x.step] = (node.outputs[0], x.last)
            return x
        return self._add(node, Step(node.said, "subsample", (x.step,), {"stride": stride}), x)

    def _slice(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        stride = strides_of(node, values, x.last)
        return x if stride == (1, 1) else self._subsampled(node, x, stride)

    def _mean(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        """The mean over height and width."""
        if node.op == "ReduceMean":
            if axes_of(node, known(values), 4) != ([1, 2] if x.last else [2, 3]):
                raise UnknownError(f"{node.said} is a mean over other axes than height and width")
        else:
            self._first(node, x)
        return self._add(node, Step(node.said, "pool", (x.step,), {"method": "mean"}), x, flat=True)

    def _pad(self, node: OnnxNode, values: Sequence[Any], x: Value) -> Value:
        channels, around, least = padding_of(node, values, x.last)
        if least != x.least and any(x.zeros):
            raise UnknownError(f"{node.said} pads what is padded")
        if any(channels):
            if any(around) or any(x.zeros) or least:
                raise UnknownError(f"{node.said} pads channels and pixels at once")
            settings = {"before": channels[0], "behind": channels[1]}
            return self._add(node, Step(node.said, "pad", (x.step,), settings), x)
        top, left, bottom, right = (one + more for one, more in zip(x.zeros, around, strict=True))
        return replace(x, zeros=(top, left, bottom, right), least=least)
