"""What the studies vary and what they hold: the networks, and how all of them are trained."""

from __future__ import annotations

from dataclasses import dataclass

from resnets.architecture import ResNetSpec


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of a study.

    name        as tables call it; its runs' folders are called like it
    spec        what it is
    series      the line of a figure that it belongs to
    at          its place across: a depth, a number of groups, the number of an option
    label       what stands there, where that is no number
    times       its epochs, as a multiple of the setting's
    as_long_as  a member whose time of training it gets instead, however many epochs that makes
    """

    name: str
    spec: ResNetSpec
    series: str
    at: float
    label: str = ""
    times: float = 1.0
    as_long_as: str | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the networks of a study are trained, all alike.

    data        a path or the name of a set
    recipe      a shipped recipe, and `overrides` of it ("key=value")
    epochs      of a member; at least one
    seeds       of each network
    """

    data: str
    recipe: str
    overrides: tuple[str, ...]
    epochs: int
    seeds: int


# On digits: the paper's recipe with steps and a rate for 1,438 images, no augmentation that digits do not bear, and the
# same warm-up for all. With one epoch of it resnet56 diverges at 0.1 and at 0.05, and its rate would be lowered alone;
# at 0.03 it does not, but plain20 learns too little in so few steps (62 % of its training images).
DIGITS = Setting(
    data="digits",
    recipe="paper-cifar",
    overrides=(
        *("batch_size=64", "learning_rate=0.07", "schedule=cosine", "warmup_epochs=2", "flip=false", "shift=1"),
        *("mean=imagenet", "weight_decay=1e-4"),
    ),
    epochs=9,
    seeds=1,
)
# On CIFAR: a reduced schedule of the paper's, with the warm-up that it has for its deepest network.
CIFAR = Setting(data="cifar10", recipe="paper-cifar", overrides=("warmup_epochs=1",), epochs=20, seeds=3)
