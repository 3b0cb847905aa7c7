"""Recipes: every key checked, overridden, explained, and read back as it was written."""

from __future__ import annotations

import dataclasses
import re

import pytest

from resnets.errors import RecipeError
from resnets.training import run
from resnets.training.keys import KEYS
from resnets.training.recipe import CHOICES, RANGES, SHIPPED, Recipe, load_recipe, shipped

FIELDS = {field.name: field.default for field in dataclasses.fields(Recipe)}


# The shipped ones ----------------------------------------------------------------------------------------


def test_the_shipped_recipes_are_the_files_that_lie_in_the_package():
    assert shipped() == sorted(path.stem for path in SHIPPED.iterdir())
    assert {"quick", "digits"} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_loads_and_says_something_beyond_the_defaults(name):
    recipe = load_recipe(name)
    assert recipe != Recipe()
    assert load_recipe(SHIPPED / f"{name}.toml") == recipe


# Overrides -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("epochs = 3", "epochs", 3),
        ("learning_rate=0.25", "learning_rate", 0.25),
        ("learning_rate=1e-3", "learning_rate", 0.001),
        ("learning_rate=1", "learning_rate", 1.0),
        ("nesterov=false", "nesterov", False),
        ("precision=float32", "precision", "float32"),
        ('precision="float32"', "precision", "float32"),
        ("milestones=[0.5, 0.75]", "milestones", (0.5, 0.75)),
        ("milestones=[]", "milestones", ()),
    ],
)
def test_an_override_has_the_type_of_its_key(override, key, value):
    found = getattr(load_recipe("quick", [override]), key)
    assert found == value
    assert type(found) is type(FIELDS[key])


def test_an_override_changes_its_key_alone_and_the_last_one_wins():
    plain = load_recipe("quick")
    assert load_recipe("quick", []) == plain
    changed = load_recipe("quick", ["epochs=3", "flip=false", "epochs=5"])
    assert changed == dataclasses.replace(plain, epochs=5, flip=False)


@pytest.mark.parametrize("override", ["epochs", "", "epochs:3"])
def test_an_override_without_an_equals_sign_is_explained(override):
    with pytest.raises(RecipeError, match="`overrides` takes key=value, not"):
        load_recipe("quick", [override])


# What is wrong is named ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"), [("learningrate", "learning_rate"), ("epoch", "epochs"), ("weight_dekay", "weight_decay")]
)
def test_a_wrong_key_names_the_nearest(tmp_path, wrong, right):
    with pytest.raises(RecipeError, match=f"there is no key '{wrong}'. Did you mean \"{right}\""):
        load_recipe("quick", [f"{wrong}=1"])
    path = tmp_path / "mine.toml"
    path.write_text(f"{wrong} = 1\n")
    with pytest.raises(RecipeError, match=rf'mine.toml: there is no key .* Did you mean "{right}"'):
        load_recipe(path)


def test_a_key_of_the_recipe_is_not_one_of_the_command_line():
    with pytest.raises(RecipeError, match="there is no key"):
        load_recipe("quick", ["zzz=1"])


@pytest.mark.parametrize(
    ("override", "kind"),
    [
        ("epochs=3.5", "epochs is a whole number, not 3.5"),
        ("epochs=many", "epochs is a whole number, not 'many'"),
        ("epochs=", "epochs is a whole number, not ''"),
        ("epochs=true", "epochs is a whole number, not True"),
        ("learning_rate=high", "learning_rate is a number, not 'high'"),
        ("learning_rate=true", "learning_rate is a number, not True"),
        ("nesterov=1", "nesterov is true or false, not 1"),
        ("nesterov=yes", "nesterov is true or false, not 'yes'"),
        ("crop=3", "crop is a word, not 3"),
        ("milestones=0.5", "milestones is a list of numbers, not 0.5"),
        ("milestones=[true]", "milestones is a list of numbers"),
        ('milestones=["a"]', "milestones is a list of numbers"),
        ("epochs={a = 1}", "epochs is a whole number"),
        ("epochs=2024-01-01", "epochs is a whole number"),
    ],
)
def test_a_wrong_type_is_named(override, kind):
    with pytest.raises(RecipeError, match=re.escape(kind)):
        load_recipe("quick", [override])


@pytest.mark.parametrize("key", RANGES)
def test_a_value_beyond_its_range_is_refused_and_its_ends_are_not(key):
    # What else must hold for the ends themselves to be possible.
    others = {"epochs": 10**6, "head_epochs": 0, "nesterov": False} | (
        {"epochs": 1, "probe": True} if key == "epochs" else {}
    )
    low, high = RANGES[key]
    whole = isinstance(FIELDS[key], int)
    for end, beyond in ((low, low - (1 if whole else 1e-9)), (high, high + (1 if whole else 1e-6))):
        if key != "head_epochs" or end == low:
            Recipe(**{**others, key: end})
        with pytest.raises(RecipeError, match=f"^{key} lies between"):
            Recipe(**{**others, key: beyond})
    if not whole:
        for never in ("nan", "inf", "-inf"):
            with pytest.raises(RecipeError, match=f"^{key} lies between"):
                load_recipe("quick", [f"{key}={never}"])


@pytest.mark.parametrize("key", CHOICES)
def test_a_word_that_is_no_choice_is_refused_with_those_that_are(key):
    with pytest.raises(RecipeError, match=f"{key} is one of {', '.join(CHOICES[key])}, not 'sideways'"):
        load_recipe("quick", [f"{key}=sideways"])


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["milestones=[0.5, 1.0]"], "milestones are shares"),
        (["milestones=[0]"], "milestones are shares"),
        (["milestones=[nan]"], "milestones are shares"),
        (["epochs=3", "head_epochs=3"], "leaves none of the 3 epochs"),
        (["momentum=0"], "nesterov needs momentum"),
        (["mean=pixel", "crop=resized", "start_size=1"], "mean='pixel' needs images"),
        (["mean=pixel", "crop=shift", "start_size=0.5"], "mean='pixel' needs images"),
    ],
)
def test_values_that_contradict_each_other_are_refused(overrides, why):
    with pytest.raises(RecipeError, match=re.escape(why)):
        load_recipe("quick", overrides)


@pytest.mark.parametrize("text", ["epochs = ", "epochs 3", "[", "epochs = 3\nepochs = 4\n", b"\xff\xfe\0e"])
def test_broken_toml_names_the_file(tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError, match=r"broken\.toml is no valid TOML"):
        load_recipe(path)


def test_an_unknown_recipe_names_the_nearest_or_all(tmp_path):
    with pytest.raises(RecipeError, match=r"There is no recipe 'quik'\. Did you mean \"quick\""):
        load_recipe("quik")
    with pytest.raises(RecipeError, match=f"Shipped: {', '.join(shipped())}; or give a path"):
        load_recipe("zzzzzz")
    with pytest.raises(RecipeError, match="There is no recipe"):
        load_recipe(tmp_path)  # a folder


# What is written can be read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(milestones=(0.5, 1 / 3), learning_rate=1e-7, nesterov=False, crop="shift", mean="pixel"),
        Recipe(milestones=(), ema=0.9999, weight_decay=0.1 + 0.2, min_steps=10**9),
        *(
            Recipe(ignore=odd, columns=odd)
            for odd in ('*"copy"*', r"raw\tmp", "a\tb\nc", "\x7f\x01", "'", "größe 日本 😀")
        ),
        *map(load_recipe, shipped()),
    ],
)
def test_a_recipe_comes_back_from_its_toml(tmp_path, recipe):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.toml())
    assert load_recipe(path) == recipe
    assert re.findall(r"^(\w+) = ", recipe.toml(), re.MULTILINE) == list(FIELDS)


def test_text_that_is_none_is_refused_before_anything_is_written():
    """Arguments of a shell may hold any bytes."""
    with pytest.raises(RecipeError, match="ignore is text"):
        load_recipe("quick", ["ignore=\udcff*"])


def test_what_epochs_imply_an_override_may_undo():
    both = run._asked_beside(["pays=5", "min_steps=600"], 20, None, None)
    recipe = load_recipe("quick", both)
    assert (recipe.epochs, recipe.pays, recipe.min_steps) == (20, 5.0, 600)
    recipe = load_recipe("quick", run._asked_beside([], 20, None, None))
    assert (recipe.epochs, recipe.pays, recipe.min_steps) == (20, 0.0, 0)


def test_every_key_is_explained_in_one_place_and_beside_its_value():
    assert list(KEYS) == list(FIELDS)
    told = load_recipe("quick").toml()
    for key, meaning in KEYS.items():
        above = told.partition(f"\n{key} = ")[0].rpartition("\n\n")[2]
        assert " ".join(line.removeprefix("# ") for line in above.splitlines()) == meaning
