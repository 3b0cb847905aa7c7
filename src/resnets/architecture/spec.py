"""What a residual network can be: a handful of independent choices, checked against each other.

A `ResNetSpec` is data. Each famous network is one line of `catalog.py`, which says only what differs from
the defaults here (the ImageNet network of He et al. 2015 with the stride on the 3x3, which torchvision
calls v1.5). `plan.py` resolves a spec to layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from resnets.architecture.rows import PadSide
from resnets.errors import SpecError, nearest
from resnets.text import brief

Block = Literal["basic", "bottleneck"]
OrderName = Literal["post", "norm_after_add", "relu_before_add", "relu_pre", "pre"]
StrideConv = Literal["spatial", "first"]
StrideUnit = Literal["first", "last"]
Shortcut = Literal["projection", "pad", "avgpool", "all", "none"]
Stem = Literal["imagenet", "cifar", "deep"]
ConvPadding = Literal["symmetric", "same"]
PoolPadding = Literal["torch", "zero", "same", "ceil", "valid"]
Bias = Literal["never", "stem", "unnormed", "always"]

Thin = Literal["norm", "relu"]
Kinds = tuple[Thin, ...]
NORM: Kinds = ("norm",)
RELU: Kinds = ("relu",)
BOTH: Kinds = ("norm", "relu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Where norm and ReLU stand. A shortcut that changes the shape reads what the unit's first convolution reads,
    and its projection has a norm where the branch ends with one before the addition.

    before, after   of a unit's convolutions; `last` instead of `after` for the last one of the branch
    joined          behind the addition
    stem, head      behind the stem's last convolution, and before the head's pool
    say, short      the same in words: the end of a sentence, and a few words for a heading
    """

    before: Kinds = ()
    after: Kinds = ()
    last: Kinds = ()
    joined: Kinds = ()
    stem: Kinds = ()
    head: Kinds = ()
    say: str
    short: str

    def normed(self, *, last: bool) -> bool:
        """Whether a norm reads what a convolution of a unit (its last one, or another) gives, or the sum with it."""
        return (self.last + self.joined if last else self.after + self.before)[:1] == NORM

    @property
    def norms_all(self) -> bool:
        """Whether a norm follows every convolution."""
        return self.normed(last=False) and self.normed(last=True) and self.stem[:1] == NORM


ORDERS: dict[OrderName, Order] = {
    "post": Order(
        after=BOTH, last=NORM, joined=RELU, stem=BOTH,
        say="after each convolution (post-activation, v1)",
        short="post-activation (v1)",
    ),
    "norm_after_add": Order(
        after=BOTH, joined=BOTH, stem=BOTH,
        say="after each convolution, the last ones behind the addition (He 2016)",
        short="norm after the addition",
    ),
    "relu_before_add": Order(
        after=BOTH, last=BOTH, stem=BOTH,
        say="after each convolution, the last ReLU before the addition (He 2016)",
        short="ReLU before the addition",
    ),
    "relu_pre": Order(
        before=RELU, after=NORM, last=NORM, stem=NORM, head=RELU,
        say="around each convolution, the ReLU before it (ReLU-only pre-activation)",
        short="ReLU-only pre-activation",
    ),
    "pre": Order(
        before=BOTH, head=BOTH,
        say="before each convolution (pre-activation, v2)",
        short="pre-activation (v2)",
    ),
}  # fmt: skip

EXPANSION = {"basic": 1, "bottleneck": 4}  # a unit's output channels over its stage's width

# A spec can come from a stranger's file, so it is bounded before anything is built from it. The largest
# published networks have about 600 units and stages 8,192 channels wide.
MAX_UNITS, MAX_WIDTH = 4096, 16384


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """The choices that define a residual network; the defaults are those of torchvision's ResNet-18.

    depths, widths      units per stage and their base width, one entry a stage (any number of stages)
    block               basic (3x3, 3x3) or bottleneck (1x1, 3x3, 1x1 with four times the width)
    order               where norm and relu stand (`ORDERS`; He 2016, Table 2): post: conv-norm-relu, relu after the
                        addition (He 2015, "v1"); norm_after_add: the last norm too; relu_before_add: the last relu
                        before it; relu_pre: relu-conv-norm; pre: norm-relu-conv, the addition stays bare ("v2")
    stride_conv         which convolution of a bottleneck strides: spatial (the 3x3: torchvision, "v1.5")
                        or first (the 1x1: the paper, Caffe, Keras)
    stride_unit         which unit halves the resolution: first of a stage (the paper) or last of the stage
                        before it (TF-Slim, Keras v2)
    shortcut            where the shape changes: projection (1x1, option B), pad (zero channels, option A),
                        avgpool (average, then 1x1: ResNet-D); all: a 1x1 in every unit (option C); none: no shortcut
    pad_side            with pad: the new zero channels come at the end, or half on both sides
    groups, width_per_group   inner width of a bottleneck = width * width_per_group / 64 * groups
                        (ResNeXt: Xie 2017; Wide ResNet on ImageNet: Zagoruyko 2016)
    stem                imagenet (7x7/2, pool), cifar (3x3), deep (three 3x3, pool: ResNet-C)
    stem_width          channels that the stem gives to the first stage
    stem_activation     False: no ReLU after the stem's norm
    conv_padding        symmetric, or TensorFlow's "same" (asymmetric where a stride meets an even size)
    pool_padding        of the stem's 3x3/2 pool: torch (1 of minus infinity), zero (1 of zeros: Keras),
                        same (TF-Slim), ceil and valid (none; last window cut: Caffe, or none: early Keras)
    bias                which convolutions have one: never, stem, unnormed (those that no norm follows),
                        always
    norm_eps            added to the variance
    norm_momentum       share of the new batch in the running statistics: 1 - the decay that TF states
    zero_init_last      start every unit as the identity: zero the last weights on the branch's way into the
                        addition, a norm (post) or a convolution (pre), at initialisation (Goyal 2017)

    Raises SpecError, with the reason, for values out of range and for choices that contradict each other.
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    block: Block = "basic"
    order: OrderName = "post"
    stride_conv: StrideConv = "spatial"
    stride_unit: StrideUnit = "first"
    shortcut: Shortcut = "projection"
    pad_side: PadSide = "end"
    groups: int = 1
    width_per_group: int = 64
    stem: Stem = "imagenet"
    stem_width: int = 64
    stem_activation: bool = True
    conv_padding: ConvPadding = "symmetric"
    pool_padding: PoolPadding = "torch"
    bias: Bias = "never"
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    zero_init_last: bool = False

    def __post_init__(self) -> None:
        self._check_values()
        for contradiction, why in (*self._impossible_sizes(), *self._contradictions()):
            if contradiction:
                raise SpecError(why)

    @property
    def expansion(self) -> int:
        """Output channels of a unit divided by its stage's width: 1 (basic) or 4 (bottleneck)."""
        return EXPANSION[self.block]

    @property
    def image_size(self) -> int:
        """The side of the square image that the family was published with: 32 (cifar stem) or 224."""
        return 32 if self.stem == "cifar" else 224

    @property
    def num_classes(self) -> int:
        """The classes of the data set that the family was published with: 10 (CIFAR-10) or 1000 (ImageNet)."""
        return 10 if self.stem == "cifar" else 1000

    @property
    def starts_as_shortcuts(self) -> bool:
        """Whether `zero_init_last` is possible: there are shortcuts, and no ReLU keeps gradients from what is zero."""
        return self.shortcut != "none" and "relu" not in ORDERS[self.order].last

    def inner_width(self, width: int) -> int:
        """Channels inside a unit of a stage of this width."""
        return width * self.width_per_group // 64 * self.groups

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON has it (tuples become lists)."""
        fields = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The spec of `to_dict`. Raises SpecError for unknown fields and for wrong types or values."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                raise SpecError(f"A spec has no field {brief(key)}.{nearest(str(key), known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)

    def _check_values(self) -> None:
        for name, values in CHOICES.items():
            value = getattr(self, name)
            if value not in values:
                meant = nearest(str(value), values)
                raise SpecError(f"{name} is one of {', '.join(values)}, not {brief(value)}.{meant}")
        for name in ("depths", "widths"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not value or not all(_is_count(v) for v in value):
                raise SpecError(f"{name} is a tuple of positive whole numbers, one a stage, not {brief(value)}.")
        for name, least in (("groups", 1), ("width_per_group", 1), ("stem_width", 1 + (self.stem == "deep"))):  # halved
            if not _is_count(getattr(self, name)) or getattr(self, name) < least:
                raise SpecError(f"{name} is a whole number of at least {least}, not {brief(getattr(self, name))}.")
        for name in ("stem_activation", "zero_init_last"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} is true or false, not {brief(getattr(self, name))}.")
        for name in ("norm_eps", "norm_momentum"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise SpecError(f"{name} is a number above 0 and at most 1, not {brief(value)}.")

    def _impossible_sizes(self) -> list[tuple[bool, str]]:
        """(does it hold, why it is refused): numbers that no network of this block and shortcut can have."""
        inner = [self.inner_width(width) for width in self.widths]
        outer = [width * self.expansion for width in self.widths]
        return [
            (
                len(self.depths) != len(self.widths),
                f"depths has {len(self.depths)} stages but widths has {len(self.widths)}: give one of each a stage.",
            ),
            (
                sum(self.depths) > MAX_UNITS or max(*inner, *outer, self.stem_width) > MAX_WIDTH,
                f"The network is too large: at most {MAX_UNITS} units and {MAX_WIDTH} channels.",
            ),
            (
                self.block == "basic" and (self.groups != 1 or self.width_per_group != 64),
                "groups and width_per_group shape the inner 3x3 of a bottleneck; a basic block has none.",
            ),
            (
                self.block == "basic" and self.stride_conv == "first",
                "stride_conv='first' is about a bottleneck's 1x1; a basic block strides its first 3x3 anyway.",
            ),
            (
                any(width * self.width_per_group % 64 for width in self.widths),
                "width * width_per_group must be a multiple of 64, or the inner width is no whole number.",
            ),
            (
                self.shortcut == "pad" and any(a > b for a, b in zip([self.stem_width, *outer], outer, strict=False)),
                "shortcut='pad' adds zero channels, so no stage may be narrower than the one before it.",
            ),
            (
                self.shortcut == "pad"
                and self.pad_side == "both"
                and any((b - a) % 2 for a, b in zip([self.stem_width, *outer], outer, strict=False)),
                "pad_side='both' needs an even number of new channels in every stage.",
            ),
        ]

    def _contradictions(self) -> list[tuple[bool, str]]:
        """(does it hold, why it is refused). One choice has one spelling, so that equal networks compare equal."""
        return [
            (
                self.pad_side != "end" and self.shortcut != "pad",
                "pad_side says where shortcut='pad' puts its zeros; the other shortcuts have none.",
            ),
            (
                self.shortcut == "none" and self.zero_init_last,
                "zero_init_last makes a unit start as its shortcut; a plain network has none and would output zeros.",
            ),
            (
                self.zero_init_last and not self.starts_as_shortcuts,
                f"With order={self.order!r} a ReLU follows what zero_init_last sets to zero: no gradient would "
                "pass, and the branch would never learn.",
            ),
            (
                self.shortcut == "none" and self.order != "post" and ORDERS[self.order].norms_all,
                f"Without an addition order={self.order!r} computes what order='post' does: say that.",
            ),
            (
                self.stem == "cifar" and self.pool_padding != "torch",
                "pool_padding is about the stem's pool; the cifar stem has none.",
            ),
            (
                "relu" not in ORDERS[self.order].stem and not self.stem_activation,
                f"With order={self.order!r} the stem never has an activation: leave stem_activation alone.",
            ),
            (
                ORDERS[self.order].norms_all and self.bias == "unnormed",
                f"With order={self.order!r} a norm follows every convolution: bias='unnormed' is the same as 'never'.",
            ),
        ]


CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(kind) for name, kind in get_type_hints(ResNetSpec).items() if get_origin(kind) is Literal
}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
