"""spec -> plan: every layer of the network as a row, in the order in which it runs.

Everything else derives from the rows: the torch module and its state names (a row's role IS its state
name), the layer table, parameters, multiply-adds. No torch here.

A unit is `branch(x) + shortcut(x)`; where norm and relu stand in it says its order (`spec.ORDERS`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from resnets.architecture.catalog import CLASSES, name_of, spec_of
from resnets.architecture.flow import Flow, Value
from resnets.architecture.rows import Row, Unit
from resnets.architecture.spec import BOTH, ORDERS, ResNetSpec, Thin
from resnets.errors import SpecError
from resnets.surface import verb
from resnets.text import brief

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """A network resolved to rows, for one image size. Made by `plan`.

    spec            the choices that it follows from
    num_classes     outputs of the head
    in_channels     channels of the image
    output_stride   8, 16 or 32
    image_size      side of the square image in pixels
    stem, head      rows before the stages and behind them
    stages          units, stage by stage
    """

    spec: ResNetSpec
    num_classes: int
    in_channels: int
    output_stride: int
    image_size: int
    stem: tuple[Row, ...]
    stages: tuple[tuple[Unit, ...], ...]
    head: tuple[Row, ...]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every layer in the order in which it runs."""
        units = (unit for stage in self.stages for unit in stage)
        return self.stem + tuple(row for unit in units for row in unit.rows) + self.head

    def __repr__(self) -> str:
        """One line, however many rows there are."""
        name, size = name_of(self.spec) or "custom", "x".join(map(str, self.stem[0].input))
        numbers = f"{len(self.rows):,} rows, {self.parameters:,} parameters, {self.macs:,} MACs"
        return f"Plan({name}: {size} -> {self.num_classes} classes, {numbers})"

    def _repr_html_(self) -> str:
        """In a notebook: the drawing and the layer table."""
        return str(verb("_plan_page")(self))

    def _repr_svg_(self) -> str:
        """In a notebook that shows no HTML: the drawing."""
        return str(verb("_plan_drawing")(self))

    @property
    def parameters(self) -> int:
        """Learned numbers of the whole network."""
        return sum(row.parameters for row in self.rows)

    @property
    def dilates_unasked(self) -> bool:
        """Whether it has more stages than the five halvings of the usual output stride, which go on by dilation."""
        stem = 1 if self.spec.stem == "cifar" else 4
        return self.output_stride == 32 and stem << (len(self.spec.depths) - 1) > 32

    @property
    def macs(self) -> int:
        """Multiply-adds of one image at `image_size`."""
        return sum(row.macs for row in self.rows)

    def at(self, image_size: int) -> Plan:
        """The same network for images of another size: other shapes and multiply-adds. image_size: in pixels."""
        if image_size == self.image_size:
            return self
        return plan(self.spec, self.num_classes, self.in_channels, self.output_stride, image_size)


def plan(
    network: str | ResNetSpec,
    num_classes: int | None = None,
    in_channels: int = 3,
    output_stride: int = 32,
    image_size: int | None = None,
) -> Plan:
    """Resolve a network to its layers.

    network         a name of the catalog, or a spec
    num_classes     outputs of the head. Default: those of the family's data set (1000, or 10 for CIFAR)
    in_channels     channels of the image
    output_stride   8, 16 or 32: once the resolution has fallen by this factor, further strides turn into
                    dilation (Chen 2016), so that the features stay dense
    image_size      side of the square image in pixels; the shapes and multiply-adds depend on it, the
                    parameters do not. Default: what the family was published with (224, or 32 for CIFAR)

    Raises SpecError for values that no network can have, or an image too small to pool.
    """
    spec = spec_of(network)
    image_size = spec.image_size if image_size is None else image_size
    if num_classes is None:
        num_classes = CLASSES.get(str(network), spec.num_classes)
    for name, value, limit in (
        ("num_classes", num_classes, 10**6),
        ("in_channels", in_channels, 10**4),
        ("image_size", image_size, 10**5),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit:
            raise SpecError(f"{name} is a whole number from 1 to {limit}, not {brief(value)}.")
    if output_stride not in OUTPUT_STRIDES:
        raise SpecError(f"output_stride is 8, 16 or 32, not {brief(output_stride)}.")
    flow = Flow(spec, (in_channels, image_size, image_size))
    stem = tuple(_stem(flow))
    stages = _stages(flow, output_stride, reached=1 if spec.stem == "cifar" else 4)
    head = tuple(_head(flow, num_classes))
    return Plan(
        spec=spec,
        num_classes=num_classes,
        in_channels=in_channels,
        output_stride=output_stride,
        image_size=image_size,
        stem=stem,
        stages=stages,
        head=head,
    )


def _stem(flow: Flow) -> Iterator[Row]:
    spec = flow.spec
    width = spec.stem_width
    thin = tuple(kind for kind in ORDERS[spec.order].stem if kind != "relu" or spec.stem_activation)
    normed = "norm" in thin
    if spec.stem == "deep":
        yield flow.conv("stem.conv1", width // 2, 3, stride=2, normed=True)
        yield from _thin(flow, "stem", BOTH, "1")
        yield flow.conv("stem.conv2", width // 2, 3, normed=True)
        yield from _thin(flow, "stem", BOTH, "2")
        yield flow.conv("stem.conv3", width, 3, normed=normed)
        last = "3"
    else:
        kernel, stride = (3, 1) if spec.stem == "cifar" else (7, 2)
        yield flow.conv("stem.conv", width, kernel, stride=stride, normed=normed)
        last = ""
    yield from _thin(flow, "stem", thin, last)
    if spec.stem != "cifar":
        yield flow.pool("stem.pool")


def _thin(flow: Flow, role: str, kinds: Iterable[Thin], number: object) -> Iterator[Row]:
    """Norms and relus, one after the other: those that go with the convolution of a number."""
    for kind in kinds:
        yield flow.thin(f"{role}.{kind}{number}", kind)


def _stages(flow: Flow, output_stride: int, reached: int) -> tuple[tuple[Unit, ...], ...]:
    """All units; `reached` is the factor by which the stem has reduced the resolution."""
    spec = flow.spec
    stages = []
    dilation = 1
    for s, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True)):
        units = []
        for u in range(depth):
            halves = (
                (u == 0 and s > 0) if spec.stride_unit == "first" else (u == depth - 1 and s < len(spec.depths) - 1)
            )
            stride = 2 if halves else 1
            before = dilation
            if halves and reached >= output_stride:
                stride, dilation = 1, dilation * 2
            else:
                reached *= stride
            role = f"stage{s + 1}.unit{u + 1}"
            units.append(Unit(role=role, rows=tuple(_unit(flow, role, width, stride, before, dilation))))
        stages.append(tuple(units))
    return tuple(stages)


def _unit(flow: Flow, role: str, width: int, stride: int, before: int, after: int) -> Iterator[Row]:
    """One unit. The convolution that strides (or would) keeps the dilation `before`; those behind it see `after`."""
    spec = flow.spec
    order = ORDERS[spec.order]
    inner, outer = spec.inner_width(width), width * spec.expansion
    if spec.block == "basic":
        shapes, striding = [(width, 3), (width, 3)], 0
    else:
        shapes, striding = [(inner, 1), (inner, 3), (outer, 1)], 0 if spec.stride_conv == "first" else 1
    start = active = flow.at  # what an identity reads, and what a shortcut of another shape does
    for i, (channels, kernel) in enumerate(shapes):
        last = i == len(shapes) - 1
        yield from _thin(flow, role, order.before, i + 1)
        active = flow.at if i == 0 else active
        yield flow.conv(
            f"{role}.conv{i + 1}",
            channels,
            kernel,
            stride=stride if i == striding else 1,
            dilation=(before if i <= striding else after) if kernel > 1 else 1,
            groups=spec.groups if kernel > 1 and spec.block == "bottleneck" else 1,
            normed=order.normed(last=last),
        )
        yield from _thin(flow, role, order.last if last else order.after, i + 1)
    if spec.shortcut != "none":
        end = flow.at
        yield from _shortcut(flow, f"{role}.shortcut", start, active, outer, stride, dilated=after > before)
        shortcut, flow.at = flow.at, end
        yield flow.added(f"{role}.add", shortcut)
    yield from _thin(flow, role, order.joined, len(shapes))


def _shortcut(
    flow: Flow, role: str, start: Value, active: Value, channels: int, stride: int, *, dilated: bool
) -> Iterator[Row]:
    spec = flow.spec
    flow.at = start
    widens = flow.channels != channels
    always = spec.shortcut == "all"
    if not widens and not always and (spec.stride_unit == "last" or spec.shortcut == "pad"):
        if stride > 1:  # the identity at a lower resolution: every second pixel (TF-Slim, Keras v2)
            yield flow.resampled(f"{role}.subsample", "subsample", channels, stride)
        return
    if not widens and not always and stride == 1 and not dilated:
        return
    flow.at = active
    if spec.shortcut == "pad":
        yield flow.resampled(f"{role}.pad", "pad", channels, stride, spec.pad_side)
        return
    if spec.shortcut == "avgpool" and (stride > 1 or dilated):
        yield flow.average(f"{role}.pool", stride)
        stride = 1
    order = ORDERS[spec.order]
    yield flow.conv(f"{role}.conv", channels, 1, stride=stride, normed=order.normed(last=True))
    if "norm" in order.last:
        yield flow.thin(f"{role}.norm", "norm")


def _head(flow: Flow, num_classes: int) -> Iterator[Row]:
    yield from _thin(flow, "head", ORDERS[flow.spec.order].head, "")
    yield flow.pooled("head.pool")
    yield flow.linear("head.linear", num_classes)
