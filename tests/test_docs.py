"""The documentation says what the program does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resnets.cli.main import commands
from resnets.cli.reference import reference

ROOT = Path(__file__).parents[1]
ROOMS = sorted(path.parent.name for path in (ROOT / "src" / "resnets").glob("*/__init__.py"))
REFERENCE = "docs/reference/cli.md"


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


def test_the_licence_is_the_one_that_the_project_declares():
    assert "Apache License" in read("LICENSE")
    assert 'license = "Apache-2.0"' in read("pyproject.toml")


def test_every_key_of_a_recipe_is_explained_with_its_default():
    import dataclasses
    import tomllib

    from resnets.training import Recipe

    keys = read("docs/guides/recipes.md").partition("| key |")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", keys, re.MULTILINE))
    for field in dataclasses.fields(Recipe):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        assert tomllib.loads(f"value = {rows.pop(field.name)}")["value"] == default
    assert not rows, "these are keys no more"


def test_every_shipped_recipe_opens_with_its_command_its_time_and_its_result():
    for path in (ROOT / "src/resnets/training/recipes").glob("*.toml"):
        head = path.read_text().split("\n\n")[0]
        assert re.search(r"^#\s+resnets train .+", head, re.MULTILINE), path
        assert re.search(r"\d+ (s|min)\b", head), path
        assert re.search(r"top-1 \d+\.\d+ %", head), path
