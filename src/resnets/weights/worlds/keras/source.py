"""A network of keras.applications' family as one readable file of Keras, under the names of its layers.

Every line follows from the layers that a configuration of Keras has (`config.made`): units that differ in no more
than names, channels and a stride are one function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from resnets.architecture import Plan, Row, Unit
from resnets.errors import ModelFileError
from resnets.weights.worlds.base import Part
from resnets.weights.worlds.keras.config import KerasLayer, made
from resnets.weights.worlds.keras.names import builds, layer_name

UNNAMED = "max_pooling2d"  # what Keras calls the pool that takes every second pixel of an identity


def keras_source(plan: Plan, name: str) -> str:
    """The text of a file that defines `resnet(classes)`. Raises ModelFileError for what keras.applications has not.

    name    what its first line calls the network
    """
    if not builds(plan.spec):
        raise ModelFileError(
            f"{name} cannot be written for Keras: only keras.applications' bottleneck networks, which are the keras_* "
            "networks of the catalog, have layers and names there."
        )
    name = name.replace("\\", "/").replace('"', "'")  # it stands in a docstring
    if plan.output_stride != 32 or any(row.dilation > 1 for row in plan.rows) or len(plan.stages) > 4:
        raise ModelFileError(
            f"{name} cannot be written for Keras: keras.applications' networks have four stages, and do not dilate."
        )
    source, epsilon = _Source(plan), plan.spec.norm_eps
    lines = [
        f'"""{name}: {plan.parameters:,} parameters; {plan.macs:,} multiply-adds for {plan.image_size} pixels a side.',
        "",
        "It needs Keras alone. Its layers have keras.applications' names, so that files of weights fit. No softmax.",
        '"""',
        "",
        "from keras import Input, Model, layers",
        "",
        "",
        "def norm(name):",
        f"    return layers.BatchNormalization(epsilon={epsilon!r}, momentum={source.momentum!r}, name=name)",
        *source.functions(),
        "",
        "",
        f"def resnet(classes={plan.num_classes}, side={plan.image_size}):",
        *(f"    {line}" for line in source.whole()),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Unit:
    """The layers of a unit: `prefix` is what their names begin with, `rows` what they were made from."""

    unit: Unit
    prefix: str
    layers: tuple[KerasLayer, ...]
    rows: dict[str, Row]
    given: str  # the layer that it reads

    def part(self, layer: str) -> str:
        """A layer's name within the unit; "x" for what the unit reads, "pool" for the layer without a name."""
        if layer == self.given:
            return "x"
        return "pool" if layer.startswith(UNNAMED) else layer.removeprefix(f"{self.prefix}_")

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What units of one function share."""
        return tuple(
            (
                layer.kind,
                self.part(layer.name),
                tuple(map(self.part, layer.reads)),
                tuple(
                    (key, value) for key, value in layer.settings.items() if key != "strides" or layer.kind != "Conv2D"
                ),
            )
            for layer in self.layers
        )

    @property
    def strides(self) -> dict[str, int]:
        """The stride of each convolution."""
        convs = (layer for layer in self.layers if layer.kind == "Conv2D")
        return {self.part(layer.name): layer.settings["strides"] for layer in convs}

    @property
    def ends(self) -> tuple[int, int]:
        """Channels inside, and that go out."""
        convs = [row for row in self.unit.branch if row.kind == "conv"]
        return convs[0].out_channels, convs[-1].out_channels


class _Source:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.momentum = round(1 - plan.spec.norm_momentum, 9)

        def layer_of(role: str) -> str:
            return layer_name(plan, Part.of(f"{role}.output"))

        self.layers = list(made(plan, layer_of))
        self.rows = {layer_of(row.role): row for row in plan.rows}
        self.stages = [[self._unit(unit, layer_of) for unit in stage] for stage in plan.stages]
        self.kinds: dict[tuple[object, ...], list[_Unit]] = {}
        for stage in self.stages:
            for one in stage:
                self.kinds.setdefault(one.key, []).append(one)
        self.names = {key: self._name(units[0], number) for number, (key, units) in enumerate(self.kinds.items())}

    def _unit(self, unit: Unit, layer_of: object) -> _Unit:
        prefix = "_".join(layer_name(self.plan, Part.of(f"{unit.rows[0].role}.output")).split("_")[:2])
        inside = {layer.name for layer in self.layers if layer.name.startswith(f"{prefix}_")}
        pools = [layer for layer in self.layers if layer.name.startswith(UNNAMED)]
        mine = [one for one in self.layers if one.name in inside]
        outer = {read for layer in mine for read in layer.reads} - inside
        mine += [pool for pool in pools if pool.name in outer]
        (given,) = {read for layer in mine for read in layer.reads} - {layer.name for layer in mine}
        order = {layer.name: number for number, layer in enumerate(self.layers)}
        return _Unit(unit, prefix, tuple(sorted(mine, key=lambda one: order[one.name])), self.rows, given)

    def _name(self, one: _Unit, number: int) -> str:
        kinds = {row.kind for row in one.unit.shortcut}
        if "conv" in kinds:
            return "projected"
        return "subsampled" if kinds else "unit"

    def functions(self) -> Iterator[str]:
        """A function for each kind of unit."""
        for key, units in self.kinds.items():
            first = units[0]
            free = {part for part in first.strides if len({one.strides[part] for one in units}) > 1}
            yield from ("", "", f"def {self.names[key]}(x, name, inner, outputs{', stride' if free else ''}):")
            variables = {"x": "x"}
            body = []
            for layer in first.layers:
                target = _variable(first.part(layer.name))
                text = self._made(layer, first, free)
                body.append(f"    {target} = {text}({_given([variables[first.part(read)] for read in layer.reads])})")
                variables[first.part(layer.name)] = target
            body[-1] = body[-1].replace(f"{target} = ", "return ", 1)
            yield from body

    def _made(self, layer: KerasLayer, one: _Unit | None, free: set[str]) -> str:
        """How a layer is made; within a unit its name and channels are the function's."""
        part = layer.name if one is None else one.part(layer.name)
        name = f'"{part}"' if one is None else f'f"{{name}}_{part}"'
        settings = dict(layer.settings)
        row = self.rows.get(layer.name)
        match layer.kind:
            case "Conv2D":
                assert row is not None
                channels = str(row.out_channels)
                if one is not None:
                    channels = "outputs" if row.out_channels == one.ends[1] and "2_" not in part else "inner"
                stride = "stride" if part in free else str(settings["strides"])
                strides = f", strides={stride}" if stride != "1" else ""
                same = ', padding="same"' if settings["padding"] == "same" else ""
                bias = "" if row.bias else ", use_bias=False"
                return f"layers.Conv2D({channels}, {settings['kernel_size']}{strides}{same}{bias}, name={name})"
            case "BatchNormalization":
                return f"norm({name})"
            case "Activation":
                return f'layers.Activation("relu", name={name})'
            case "ZeroPadding2D":
                return f"layers.ZeroPadding2D({settings['padding']}, name={name})"
            case "MaxPooling2D":
                named = f", name={name}" if one is None else ""
                return f"layers.MaxPooling2D({settings['pool_size']}, strides={settings['strides']}{named})"
            case "Dense":
                return f"layers.Dense(classes, name={name})"
        return f"layers.{layer.kind}(name={name})"

    def whole(self) -> Iterator[str]:
        """The lines of the function that makes the model."""
        inside = {layer.name for stage in self.stages for one in stage for layer in one.layers}
        outside = [layer for layer in self.layers if layer.name not in inside and layer.kind != "InputLayer"]
        stem = [layer for layer in outside if layer.name.startswith(("conv1", "pool1"))]
        yield f"image = x = Input((side, side, {self.plan.in_channels}))"
        yield from (f"x = {self._made(layer, None, set())}(x)" for layer in stem)
        for stage in self.stages:
            for text, run in groupby(stage, self._call):
                same = list(run)
                numbers = [one.prefix.rpartition("block")[2] for one in same]
                if len(same) == 1:
                    yield f"x = {text.replace('{block}', numbers[0])}"
                    continue
                yield f"for block in range({numbers[0]}, {int(numbers[-1]) + 1}):"
                yield f"    x = {text.replace(', ', ', f', 1)}"
        yield from (f"x = {self._made(layer, None, set())}(x)" for layer in outside if layer not in stem)
        yield "return Model(image, x)"

    def _call(self, one: _Unit) -> str:
        units = self.kinds[one.key]
        free = [part for part in one.strides if len({other.strides[part] for other in units}) > 1]
        arguments = [*map(str, one.ends), *(str(one.strides[part]) for part in free[:1])]
        prefix = one.prefix.rpartition("block")[0]
        return f'{self.names[one.key]}(x, "{prefix}block{{block}}", {", ".join(arguments)})'


def _variable(part: str) -> str:
    """Where a layer's output is kept: what a unit's paths share, the shortcut, or the branch."""
    if part.startswith("preact"):
        return "a"
    return "shortcut" if part.startswith(("0_", "pool")) else "y"


def _given(variables: Sequence[str]) -> str:
    return variables[0] if len(variables) == 1 else f"[{', '.join(variables)}]"
