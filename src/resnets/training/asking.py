"""What somebody asks for, made definite before anything is written: which recipe, and which weights to start from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from resnets import machine
from resnets.architecture import ResNetSpec, spec_of
from resnets.architecture.catalog import name_of
from resnets.data.source import Source
from resnets.progress import say
from resnets.training.recipe import Recipe, load_recipe
from resnets.training.setup import data_size
from resnets.weights import body

AUTO, NONE = "auto", "none"
FROM_A_BODY, FROM_SCRATCH = "fine-tune", "quick"  # the recipes where none is named
SIGNS = "digits"  # the set, and the recipe of that name: a mirrored digit is another sign


def settle(
    data: str | Path,
    source: Source,
    *,
    model: str | ResNetSpec | None,
    recipe: str | Path | None,
    weights: str | Path | None,
    overrides: Iterable[str],
    device: str,
) -> tuple[Recipe, str | None]:
    """The recipe, and the weights to start from: a file, made absolute, or a tag; None: fresh ones.

    data        as it was asked for; source: the same, listed and not read
    recipe      a name or a file; None: one that suits the weights
    weights     a file or a tag; "none"; "auto" or None: the registry's for the network, where that suits
                recipe and data

    Small pictures, and recipes that say nothing of a body, mean fresh weights. Weights that cannot be had are told in
    one line, and fresh ones are taken. Raises RecipeError, ParameterError, DataError, SpecError.
    """
    overrides = list(overrides)
    if isinstance(model, str):
        spec_of(model)  # an unknown name is told before anything is fetched
    if weights is not None and str(weights) not in (AUTO, NONE):
        place = str(Path(weights).resolve() if os.path.exists(weights) else weights)
        return load_recipe(recipe or FROM_A_BODY, overrides), place
    named = SIGNS if recipe is None and str(data) == SIGNS else recipe
    wanted = load_recipe(named or FROM_A_BODY, overrides) if str(weights) != NONE else None
    if wanted is not None and wanted.from_a_body and (found := _usual(source, model, wanted, device)) is not None:
        return wanted, found
    if (
        recipe is not None
        and wanted is not None
        and not wanted.from_a_body
        and _size(source, wanted, device) > body.SMALL
    ):
        say("This recipe trains from scratch: `recipe='fine-tune'` starts from a network that others have trained.")
    return load_recipe(named or FROM_SCRATCH, overrides), None


def _usual(source: Source, model: str | ResNetSpec | None, recipe: Recipe, device: str) -> str | None:
    """The tag of the weights that the network usually starts from, or None, which a line explains."""
    size = _size(source, recipe, device)
    if size <= body.SMALL:
        say(f"The images are small ({size} pixels): the network is trained from scratch.")
        return None
    return body.auto(name_of(model) or "custom" if isinstance(model, ResNetSpec) else model)


def _size(source: Source, recipe: Recipe, device: str) -> int:
    return recipe.image_size or data_size(source, source.samples, machine.pick_device(device))
