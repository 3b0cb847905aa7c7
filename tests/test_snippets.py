"""What the documentation says to type works, page by page, from top to bottom, where photos and a run of them lie.

The same as for the README (`test_readme`): commands run in this process, Python as it stands; recipes and the measuring
of speeds are shortened. What is not run here is named with the reason.
"""

import re
import shutil
from pathlib import Path

import pytest

from resnets.acceptance import exported
from resnets.cli.main import commands, main
from resnets.inference import choice
from resnets.training import recipe
from typed import in_order, lines, photos, run, shorter, words

DOCS = Path(__file__).parents[1] / "docs"
GENERATED = {"reference/cli.md", "reference/python.md", "reference/model-file.md"}  # from the code; parsed below
MEASURED = {"benchmarks.md", "parity.md", "troubles.md"}  # commands that measure, for hours
PAGES = sorted(name for path in DOCS.rglob("*.md") if (name := str(path.relative_to(DOCS))) not in GENERATED | MEASURED)
# The beginnings of commands that are not run here, and why.
LEFT_OUT = {
    "python3 -m venv": "installs over the network; `.ci/run` and its tests do it",
    "python benchmarks/box.py": "needs that run",
    "python examples/": "tests/test_examples.py",
    "torchrun ": "tests/test_examples.py",
    "find new": "another program's",
    "resnets predict runs/photos - --out part-aa.csv": "reads a file that split has made; tests/cli/test_irregular.py",
    "resnets train cifar10.zip": "takes an hour; benchmarks/box.py",
    "resnets train photos/ --processes 2": "tests/training/test_wide.py",
    "resnets train photos/ --verify-resume": "tests/training/test_verify.py",
    "resnets bench": "takes minutes; tests/benchmark",
    "resnets study": "takes minutes; tests/studies",
    "resnets --install-completion": "changes the shell; tests/cli/test_help.py shows what it installs",
    "resnets train photos/ --minutes 20": "takes minutes; tests/training/test_minutes.py",
    "resnets train --resume runs/evening": "of that run; tests/training/test_resume.py",
    "resnets train --finish runs/evening": "of that run; tests/training/test_finish.py",
    "resnets train photos/labels.csv": "a table of paths that the page does not make; tests/data/test_labelled.py",
    "resnets train photos/ --weights timm:": "fetches over the network; tests/weights",
    "resnets predict torchvision:": "fetches over the network; tests/weights",
    "resnets predict runs/photos new/ --engine ray": "starts a cluster; tests/inference/test_ray.py",
    "resnets convert resnet_50_1by2_nsfw.caffemodel": "a file that is not here; tests/weights/test_body.py",
    "resnets convert resnet20-cifar10-akamaster.th": "a file that is not here; tests/acceptance/test_probe.py",
}
FETCHES = 'resnets.load("torchvision:resnet50")'  # in a block of Python


def left_out(line):
    return next((why for start, why in LEFT_OUT.items() if line.startswith(start)), None)


@pytest.fixture(scope="module")
def prepared(once, tmp_path_factory):
    """photos/, new/, runs/photos and runs/evening, and photos.caffemodel: what pages may begin with."""

    def make(folder):
        photos(folder)
        shutil.make_archive(str(folder / "photos"), "zip", folder, "photos")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipe, "SHIPPED", shorter(tmp_path_factory.mktemp("recipes")))
            patch.chdir(folder)
            for seed, run_ in (("0", "runs/photos"), ("1", "runs/evening")):
                assert main(["train", "photos/", "--weights", "none", "--seed", seed, "--out", run_]) == 0
            assert main(["convert", "runs/photos", "photos.caffemodel", "--to", "caffe"]) == 0

    return once("documented", make)


@pytest.fixture
def here(prepared, monkeypatch, tmp_path):
    """A copy of that place, which a page may fill."""
    place = tmp_path / "place"
    shutil.copytree(prepared, place)
    shipped = tmp_path / "recipes"
    shutil.copytree(recipe.SHIPPED, shipped)
    monkeypatch.setattr(recipe, "SHIPPED", shorter(shipped))
    for measures in (choice, exported):
        monkeypatch.setattr(measures, "SECONDS", 0.02)
    monkeypatch.chdir(place)


@pytest.mark.parametrize("page", [page for page in PAGES if in_order((DOCS / page).read_text())])
def test_everything_works_in_the_order_in_which_it_stands(here, capsys, page):
    for kind, block in in_order((DOCS / page).read_text()):
        if kind == "python" and FETCHES not in block:
            exec(compile(block, page, "exec"), {"__name__": "page"})
        for line in lines(f"```\n{block}```") if kind in ("", "bash", "console") else ():
            if left_out(line):
                continue
            made = re.search(r"--out (runs/\S+)", line)
            if made:  # the page makes what it could have begun with
                shutil.rmtree(made[1], ignore_errors=True)
            status = run(line)
            assert status == 0, f"{line}\n{capsys.readouterr().err}"


def test_nothing_is_left_out_that_is_not_there():
    typed = [line for page in PAGES for line in lines((DOCS / page).read_text())]
    for start in LEFT_OUT:
        assert any(line.startswith(start) for line in typed), start


@pytest.mark.parametrize("verb", commands())
def test_every_example_in_the_help_is_one_that_the_verb_takes(verb):
    """Its words are parsed, and nothing is done."""
    command = commands()[verb]
    examples = [line.strip() for line in (command.callback.__doc__ or "").partition("Examples:")[2].splitlines()]
    typed = [line.split("   ")[0] for line in examples if line.startswith(f"resnets {verb}")]
    assert typed, verb
    for line in typed:
        context = command.make_context(verb, words(line)[1:])
        assert context.args == []
