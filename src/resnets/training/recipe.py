"""Recipes: how a network is trained, as a flat table of values in a small TOML file.

The shipped ones lie in `recipes/`; each opens with its command, its time and its result. Every value can be
overridden on the command line: `--set learning_rate=0.05`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from resnets.data.labels import is_utf8
from resnets.data.preprocess import FITS
from resnets.data.reading import DEEPEST
from resnets.errors import RecipeError, nearest
from resnets.regular import read_regular
from resnets.text import PATH, brief, printable
from resnets.training.keys import KEYS

MOST_BYTES = 2**20  # of a recipe: a few dozen lines
SHIPPED = Path(__file__).parent / "recipes"

CHOICES = {
    "optimiser": ("sgd", "muon"),
    "schedule": ("cosine", "steps"),
    "fit": ("auto", *FITS),
    "crop": ("resized", "shift", "none", "auto"),
    "mean": ("imagenet", "pixel"),
    "precision": ("auto", "float32", "bfloat16"),
    "norms": ("batch", "frozen"),
    "keep": ("last", "best"),
    "class_weights": ("none", "balanced"),
    "sampler": ("shuffled", "balanced"),
}
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (0, 10**6),
    "min_steps": (0, 10**9),
    "batch_size": (2, 10**6),
    "accumulate": (1, 10**6),
    "learning_rate": (0, 1000),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 1),
    "warmup_epochs": (0, 10**6),
    "decay_factor": (0, 1),
    "label_smoothing": (0, 0.9),
    "ema": (0, 0.999999),
    "image_size": (0, 4096),
    "start_size": (0.1, 1),
    "min_area": (0.01, 1),
    "shift": (0, 256),
    "mixup": (0, 100),
    "head_epochs": (0, 10**6),
    "freeze": (0, 64),
    "pays": (0, 1000),
    "lower_rates": (0.0001, 1),
    "logit_adjustment": (0, 4),
    "evaluate_every": (1, 10**6),
    "patience": (0, 10**6),
    "checkpoint_seconds": (0, 10**9),
    "workers": (1, 256),
    "depth": (1, DEEPEST),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a network is trained. What each key means stands in `resnets.training.keys.KEYS`, and
    beside its value in a run's recipe.toml; `docs/guides/recipes.md` explains the choices.
    """

    epochs: int = 12
    min_steps: int = 0
    batch_size: int = 64
    accumulate: int = 1
    recompute: bool = False
    optimiser: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_everything: bool = False
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay_factor: float = 0.1
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    ema: float = 0.0
    image_size: int = 0
    fit: str = "auto"
    start_size: float = 1.0
    crop: str = "auto"
    min_area: float = 0.35
    shift: int = 4
    flip: bool = True
    trivial_augment: bool = False
    mixup: float = 0.0
    class_weights: str = "none"
    sampler: str = "shuffled"
    logit_adjustment: float = 0.0
    mean: str = "imagenet"
    precision: str = "auto"
    zero_init_last: bool = False
    probe: bool = False
    pays: float = 0.0
    head_epochs: int = 0
    freeze: int = 0
    norms: str = "batch"
    lower_rates: float = 1.0
    evaluate_every: int = 1
    patience: int = 0
    keep: str = "last"
    checkpoint_seconds: float = 60.0
    workers: int = 1
    depth: int = 1
    ignore: str = ""
    columns: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise RecipeError(f"{name} lies between {low:g} and {high:g}, not at {brief(value)}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"{name} is one of {', '.join(choices)}, not {brief(getattr(self, name))}.")
        if not all(0 < share < 1 for share in self.milestones):
            raise RecipeError(
                f"milestones are shares of the training, above 0 and below 1, not {brief(self.milestones)}."
            )
        if not self.epochs and not (self.probe and not self.min_steps):
            raise RecipeError("epochs=0 trains nothing: give `epochs`, or probe=true and min_steps=0.")
        if self.head_epochs >= max(self.epochs, 1):
            raise RecipeError(
                f"head_epochs={self.head_epochs} leaves none of the {self.epochs} epochs for the rest: "
                "give more epochs, or `overrides=['head_epochs=0']`."
            )
        if (self.class_weights == "balanced") + (self.sampler == "balanced") + bool(self.logit_adjustment) > 1:
            raise RecipeError(
                "class_weights, sampler and logit_adjustment each make up for classes of unequal size, and two of them "
                "for more than there is: set one."
            )
        if self.nesterov and not self.momentum:
            raise RecipeError("nesterov needs momentum: set nesterov=false, or momentum=0.9.")
        if self.mean == "pixel" and (self.crop == "resized" or self.start_size < 1):
            raise RecipeError("mean='pixel' needs images that are always of one size: crop='shift', start_size=1.")

    @property
    def evens_out(self) -> bool:
        """Whether every class counts the same in what is minimised."""
        return self.class_weights == "balanced" or self.sampler == "balanced"

    @property
    def from_a_body(self) -> bool:
        """Whether it is for a network that others have trained."""
        return bool(self.probe or self.head_epochs or self.freeze or self.norms == "frozen")

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Self:
        """A recipe of a TOML table. Raises RecipeError for unknown keys (naming the nearest) and wrong types."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = {}
        for key, value in table.items():
            if key not in fields:
                raise RecipeError(f"{where}: there is no key {brief(key)}.{nearest(key, fields)}")
            values[key] = _typed(key, value, fields[key].default, where)
        return cls(**values)

    def toml(self) -> str:
        """This recipe as TOML: every key, below what it means."""
        return "\n".join(
            f"{textwrap.fill(KEYS[key], 118, initial_indent='# ', subsequent_indent='# ')}\n{key} = {written(value)}\n"
            for key, value in dataclasses.asdict(self).items()
        )


def shipped() -> list[str]:
    """Names of the recipes that come with the library."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_recipe(recipe: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name or anybody's TOML file by path, with `key=value` overrides on top.

    Raises RecipeError for an unknown name or key (naming the nearest), a wrong type or range, broken TOML.
    """
    return Recipe.from_table(recipe_table(recipe, overrides), printable(str(recipe)))


def recipe_table(recipe: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The same as it is written, before its values are looked at. Raises RecipeError."""
    path = SHIPPED / f"{recipe}.toml" if str(recipe) in shipped() else Path(recipe)
    if not os.path.exists(path) or path.is_dir():
        hint = nearest(str(recipe), shipped()) or f" Shipped: {', '.join(shipped())}; or give a path to a .toml file."
        raise RecipeError(f"There is no recipe {brief(str(recipe), PATH)}.{hint}")
    shown = printable(str(path))
    try:
        table = tomllib.loads(read_regular(path, MOST_BYTES).decode())
    except OSError as problem:
        raise RecipeError(f"{shown} cannot be read as a recipe: {problem.strerror}.") from problem
    except (ValueError, RecursionError) as problem:  # TOML's own error among them
        raise RecipeError(f"{shown} is no valid TOML: {printable(str(problem))[:200]}.") from problem
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RecipeError(f"`overrides` takes key=value, not {brief(override)}.")
        try:
            table[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            table[key.strip()] = text.strip()  # a bare word: --set precision=float32
    return table


def _typed(key: str, value: Any, default: Any, where: str) -> Any:
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise RecipeError(f"{where}: {key} is true or false, not {brief(value)}.")
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
            return tuple(_float(key, v, where) for v in value)
        raise RecipeError(f"{where}: {key} is a list of numbers, not {brief(value)}.")
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return _float(key, value, where)
    if type(value) is not type(default):
        kind = {int: "a whole number", float: "a number", str: "a word"}[type(default)]
        raise RecipeError(f"{where}: {key} is {kind}, not {brief(value)}.")
    if isinstance(value, str) and not is_utf8(value):
        raise RecipeError(f"{where}: {key} is text, and {brief(value)} has bytes that are none.")
    return value


def _float(key: str, value: float, where: str) -> float:
    try:
        return float(value)
    except OverflowError as problem:
        raise RecipeError(f"{where}: {key} is a number of {len(str(value))} digits.") from problem


def written(value: Any) -> str:
    """A value of a recipe, as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(repr, value))}]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for the one character that TOML has escaped besides
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
