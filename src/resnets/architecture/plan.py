"""spec -> plan: every layer of the network as a row, in the order in which it runs.

Everything else derives from the rows: the torch module and its state names (a row's role IS its state
name), the layer table, parameters, multiply-adds. No torch here.

A unit is `branch(x) + shortcut(x)`. Post-activation: the branch is conv-norm-relu-..-conv-norm, a relu
follows the addition. Pre-activation: the branch is norm-relu-conv-..., and a shortcut that changes the
shape reads the first relu's output, which branch and shortcut then share (He 2016, figure 4e).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from resnets.architecture.catalog import CLASSES, spec_of
from resnets.architecture.rows import Row, Shape, Unit
from resnets.architecture.spec import ResNetSpec
from resnets.errors import SpecError

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network resolved to rows, for one image size. Made by `plan`."""

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

    @property
    def parameters(self) -> int:
        """Learned numbers of the whole network."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image at `image_size`."""
        return sum(row.macs for row in self.rows)


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
            raise SpecError(f"{name} is a whole number from 1 to {limit}, not {value!r}.")
    if output_stride not in OUTPUT_STRIDES:
        raise SpecError(f"output_stride is 8, 16 or 32, not {output_stride!r}.")
    layers = _Layers(spec, (in_channels, image_size, image_size))
    stem = tuple(_stem(layers))
    stages = _stages(layers, output_stride, reached=1 if spec.stem == "cifar" else 4)
    head = tuple(_head(layers, num_classes))
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


class _Layers:
    """Makes rows one after the other and follows the shape of what flows between them."""

    def __init__(self, spec: ResNetSpec, shape: Shape) -> None:
        self.spec = spec
        self.shape = shape

    def conv(
        self,
        role: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        normed: bool,
    ) -> Row:
        """A convolution; `normed` says whether a norm reads its output."""
        rule = self.spec.bias
        bias = rule == "always" or (rule == "unnormed" and not normed) or (rule == "stem" and role.startswith("stem"))
        symmetric = dilation * (kernel - 1) // 2
        padding: int | str = "same" if self.spec.conv_padding == "same" and stride > 1 and kernel > 1 else symmetric
        return self._step(role, "conv", channels, kernel, stride, dilation, padding, groups, bias)

    def norm(self, role: str) -> Row:
        return self._step(role, "norm", self.shape[0])

    def relu(self, role: str) -> Row:
        return self._step(role, "relu", self.shape[0])

    def pool(self, role: str) -> Row:
        rule = self.spec.pool_padding
        padding: int | str = 1 if rule == "torch" else rule
        return self._step(role, "max_pool", self.shape[0], 3, 2, 1, padding)

    def other(self, role: str, kind: str, channels: int, **fields: int | str) -> Row:
        """A layer of any other kind, whose output is ceil(size / stride)."""
        stride = int(fields.get("stride", 1))
        shape = (channels, -(-self.shape[1] // stride), -(-self.shape[2] // stride))
        row = Row(role=role, kind=kind, input=self.shape, output=shape, **fields)  # type: ignore[arg-type]
        self.shape = shape
        return row

    def _step(
        self,
        role: str,
        kind: str,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: int | str = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> Row:
        height, width = (_output_size(size, kernel, stride, dilation, padding) for size in self.shape[1:])
        if min(height, width) < 1:
            raise SpecError(f"The image is too small: nothing of it is left at {role}. Take a larger image_size.")
        row = Row(
            role=role,
            kind=kind,
            input=self.shape,
            output=(channels, height, width),
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=groups,
            bias=bias,
        )
        self.shape = row.output
        return row


def _output_size(size: int, kernel: int, stride: int, dilation: int, padding: int | str) -> int:
    reach = dilation * (kernel - 1) + 1
    if padding == "same":
        return -(-size // stride)
    if padding == "ceil":
        return -(-(size - reach) // stride) + 1
    return (size + 2 * (1 if padding == "zero" else int(padding)) - reach) // stride + 1


def _stem(layers: _Layers) -> Iterator[Row]:
    spec = layers.spec
    width = spec.stem_width
    normed = spec.order == "post"  # with pre-activation the first unit brings the norm
    if spec.stem == "deep":
        yield layers.conv("stem.conv1", width // 2, 3, stride=2, normed=True)
        yield layers.norm("stem.norm1")
        yield layers.relu("stem.relu1")
        yield layers.conv("stem.conv2", width // 2, 3, normed=True)
        yield layers.norm("stem.norm2")
        yield layers.relu("stem.relu2")
        yield layers.conv("stem.conv3", width, 3, normed=normed)
        last = "3"
    else:
        kernel, stride = (3, 1) if spec.stem == "cifar" else (7, 2)
        yield layers.conv("stem.conv", width, kernel, stride=stride, normed=normed)
        last = ""
    if normed:
        yield layers.norm(f"stem.norm{last}")
        if spec.stem_activation:
            yield layers.relu(f"stem.relu{last}")
    if spec.stem != "cifar":
        yield layers.pool("stem.pool")


def _stages(layers: _Layers, output_stride: int, reached: int) -> tuple[tuple[Unit, ...], ...]:
    """All units; `reached` is the factor by which the stem has reduced the resolution."""
    spec = layers.spec
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
            units.append(_unit(layers, f"stage{s + 1}.unit{u + 1}", width, stride, before, dilation))
        stages.append(tuple(units))
    return tuple(stages)


def _unit(layers: _Layers, role: str, width: int, stride: int, before: int, after: int) -> Unit:
    """One unit. The convolution that strides (or would) keeps the dilation `before`; those behind it see `after`."""
    spec = layers.spec
    pre = spec.order == "pre"
    start = layers.shape
    inner, outer = spec.inner_width(width), width * spec.expansion
    if spec.block == "basic":
        shapes, striding = [(width, 3), (width, 3)], 0
    else:
        shapes, striding = [(inner, 1), (inner, 3), (outer, 1)], 0 if spec.stride_conv == "first" else 1

    branch: list[Row] = []
    for i, (channels, kernel) in enumerate(shapes):
        last = i == len(shapes) - 1
        n = i + 1
        if pre:
            branch += [layers.norm(f"{role}.norm{n}"), layers.relu(f"{role}.relu{n}")]
        branch.append(
            layers.conv(
                f"{role}.conv{n}",
                channels,
                kernel,
                stride=stride if i == striding else 1,
                dilation=(before if i <= striding else after) if kernel > 1 else 1,
                groups=spec.groups if kernel > 1 and spec.block == "bottleneck" else 1,
                normed=not (pre and last),
            )
        )
        if not pre:
            branch.append(layers.norm(f"{role}.norm{n}"))
            if not last:
                branch.append(layers.relu(f"{role}.relu{n}"))

    end = layers.shape
    residual = spec.shortcut != "none"
    layers.shape = start
    shortcut = tuple(_shortcut(layers, f"{role}.shortcut", outer, stride, dilated=after > before)) if residual else ()
    if residual and layers.shape != end:
        raise SpecError(f"At {role} the branch gives {end} and the shortcut {layers.shape}: they cannot be added.")
    layers.shape = end
    after_rows = [layers.other(f"{role}.add", "add", outer)] if residual else []
    if not pre:
        after_rows.append(layers.relu(f"{role}.relu{len(shapes)}"))
    return Unit(role=role, branch=tuple(branch), shortcut=shortcut, after=tuple(after_rows), residual=residual)


def _shortcut(layers: _Layers, role: str, channels: int, stride: int, *, dilated: bool) -> Iterator[Row]:
    spec = layers.spec
    widens = layers.shape[0] != channels
    if not widens and (spec.stride_unit == "last" or spec.shortcut == "pad"):
        if stride > 1:  # the identity at a lower resolution: every second pixel (TF-Slim, Keras v2)
            yield layers.other(f"{role}.subsample", "subsample", channels, stride=stride)
        return
    if not widens and stride == 1 and not dilated:
        return
    if spec.shortcut == "pad":
        yield layers.other(f"{role}.pad", "pad", channels, stride=stride, padding=spec.pad_side)
        return
    if spec.shortcut == "avgpool" and (stride > 1 or dilated):
        yield layers.other(f"{role}.pool", "avg_pool", layers.shape[0], kernel=2, stride=stride, padding="same")
        stride = 1
    yield layers.conv(f"{role}.conv", channels, 1, stride=stride, normed=spec.order == "post")
    if spec.order == "post":
        yield layers.norm(f"{role}.norm")


def _head(layers: _Layers, num_classes: int) -> Iterator[Row]:
    if layers.spec.order == "pre":
        yield layers.norm("head.norm")
        yield layers.relu("head.relu")
    pooled = (layers.shape[0], 1, 1)
    yield Row(role="head.pool", kind="global_pool", input=layers.shape, output=pooled)
    yield Row(role="head.linear", kind="linear", input=pooled, output=(num_classes, 1, 1), bias=True)
