"""The documentation says what the program does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resnets.cli import file_reference, python_reference
from resnets.cli.main import commands
from resnets.cli.reference import reference

ROOT = Path(__file__).parents[1]
ROOMS = sorted(path.parent.name for path in (ROOT / "src" / "resnets").glob("*/__init__.py"))
REFERENCE = "docs/reference/cli.md"
PYTHON = "docs/reference/python.md"
FILE = "docs/reference/model-file.md"


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_command_reference_is_up_to_date():
    assert read(REFERENCE) == reference(), f"run: python -m resnets.cli.reference > {REFERENCE}"


def test_the_command_that_writes_the_reference_works():
    command = [sys.executable, "-m", "resnets.cli.reference"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == reference()


@pytest.mark.parametrize("verb", commands())
def test_every_flag_and_argument_is_explained(verb):
    sections = read(REFERENCE).split("\n## ")
    section = next(text for text in sections if text.startswith(f"`resnets {verb} "))
    rows = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            _, label, meaning, _ = re.split(r"(?<!\\)\|", line)
            rows[label.strip(" `[].").split()[0].rstrip(".")] = meaning
    for param in commands()[verb].params:
        label = param.opts[0] if param.param_type_name == "option" else (param.metavar or param.name.upper())
        words = rows[label.strip("[].").split()[0].rstrip(".")].split()
        assert len(words) >= 3, f"{label} of `resnets {verb}` needs words that explain it"


def test_the_python_reference_is_up_to_date():
    assert read(PYTHON) == python_reference.reference(), f"run: python -m resnets.cli.reference python > {PYTHON}"


def test_the_command_that_writes_the_python_reference_works():
    command = [sys.executable, "-m", "resnets.cli.reference", "python"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == python_reference.reference()


def test_the_specification_of_the_model_file_is_up_to_date():
    assert read(FILE) == file_reference.reference(), f"run: python -m resnets.cli.reference file > {FILE}"


def needs_words(thing):
    """The names that a public function or class has to explain."""
    names = [parameter.name for parameter in python_reference.parameters(thing)]
    return {name for name in names if not name.startswith("_")}


def unexplained(thing):
    doc, explained = thing.__doc__ or "", python_reference.explained(thing).names
    lacking = {name for name in needs_words(thing) if len(explained.get(name, "").split()) < 2}
    # The words for an only parameter may stand in the sentence itself.
    return lacking if len(needs_words(thing)) > 1 else {name for name in lacking if not mentions(doc, name)}


def mentions(doc, name):
    return re.search(rf"\b{name}\b", doc, re.IGNORECASE) is not None


@pytest.mark.parametrize(("name", "thing"), python_reference.public().items(), ids=list(python_reference.public()))
def test_every_public_name_and_parameter_is_explained(name, thing):
    assert len((thing.__doc__ or "").split()) >= 4, f"resnets.{name} needs a docstring"
    if not (isinstance(thing, type) and issubclass(thing, Exception)):
        assert unexplained(thing) == set()


CLASSES = {name: thing for name, thing in python_reference.public().items() if isinstance(thing, type)}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in CLASSES for name, _ in python_reference.members(CLASSES[kind])]
)
def test_every_method_property_and_what_it_takes_is_explained(kind, name):
    member = getattr(CLASSES[kind], name)
    assert len((member.__doc__ or "").split()) >= 3, f"{kind}.{name} needs a docstring"
    if callable(member):
        siblings = [getattr(CLASSES[kind], other) for other, _ in python_reference.members(CLASSES[kind])]
        known = {word for other in siblings if callable(other) for word in python_reference.explained(other).names}
        assert {word for word in needs_words(member) - known if not mentions(member.__doc__, word)} == set()


def test_the_reader_of_docstrings_knows_every_form():
    def function(data, *, top, size, width, deep):
        """Do it.

        data    a folder: or
                a file
        top, size   both
        width: how wide

        deep, in a sentence, is none of these. data too.
        """

    words = python_reference.explained(function)
    assert words.names == {"data": "a folder: or a file", "top": "both", "size": "both", "width": "how wide"}
    assert words.prose == ("Do it.", "deep, in a sentence, is none of these. data too.")


def bash_blocks(page):
    return re.findall(r"^```bash\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)


def test_the_readme_begins_with_the_two_commands_that_set_everything_up():
    """`.ci/run` takes the second one from there."""
    run, test = bash_blocks("README.md")[:2]
    assert run.startswith("python3 -m venv .venv && ")
    assert "resnets train" in run
    assert test.startswith("python3 -m venv .venv && ")
    assert "pytest" in test


def test_ci_runs_the_second_block_of_the_readme(tmp_path):
    """The line of `.ci/run` that takes the command out of the README, run alone on a small page."""
    page = "# Title\n```bash\none\n```\n```\nplain\n```\n```bash\ntwo\n```\n```bash\nthree\n```\n"
    (tmp_path / "README.md").write_text(page)
    line = next(line for line in read(".ci/run").splitlines() if line.startswith("test_command="))
    command = ["bash", "-c", f'{line}\nprintf %s "$test_command"']
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout == b"two"


def test_ci_is_a_program():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


@pytest.mark.parametrize("room", ROOMS)
def test_the_map_of_the_house_has_every_room(room):
    assert f"| `{room}/` |" in read("CONTRIBUTING.md")


def test_the_tree_of_the_readme_is_the_house():
    tree = read("README.md").partition("src/resnets/\n")[2].partition("```")[0]
    places = [
        word for line in tree.splitlines() for word in re.findall(r"(?:^|\s)(\w+/\w*(?:\.py)?)(?=\s|$)", line[:29])
    ]
    assert [place for place in places if not (ROOT / "src/resnets" / place).exists()] == []
    assert sorted({place.partition("/")[0] for place in places}) == ROOMS


def test_the_licence_is_the_one_that_the_project_declares():
    assert "Apache License" in read("LICENSE")
    assert 'license = "Apache-2.0"' in read("pyproject.toml")


def test_every_key_of_a_recipe_is_explained_with_its_default():
    from resnets.cli.reference import recipe_keys

    assert recipe_keys() in read("docs/guides/recipes.md")


def test_every_shipped_recipe_opens_with_its_command_its_time_and_its_result():
    for path in (ROOT / "src/resnets/training/recipes").glob("*.toml"):
        head = path.read_text().split("\n\n")[0]
        assert re.search(r"^#\s+resnets train .+", head, re.MULTILINE), path
        assert re.search(r"\d+ (s|min)\b", head), path
        assert re.search(r"top-1 \d+\.\d+ %", head), path
