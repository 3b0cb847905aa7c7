"""What `import resnets` offers: the verbs as functions, their types, every error, and nothing else."""

import ast
import copy
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets import errors
from resnets.acceptance.gate import AccuracyError, Verdict
from resnets.cli.main import commands
from resnets.cli.output import with_flags

SOURCE = Path(resnets.__file__).parent
FUNCTIONS = "plan create load save train evaluate predict doctor convert export explain bench study names"
CLASSES = "ResNetSpec Plan Prediction Model Classifier Preprocessing"
ERRORS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and name.endswith("Error")}


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


# The names ------------------------------------------------------------------------------------------------


def test_the_surface_is_the_verbs_the_types_and_all_errors():
    assert sorted(resnets.__all__) == sorted([*FUNCTIONS.split(), *CLASSES.split(), *ERRORS, "__version__"])
    assert len(set(resnets.__all__)) == len(resnets.__all__)


def test_dir_shows_what_is_public_and_nothing_else_whatever_has_been_imported():
    shown = python(
        "import resnets, resnets.cli.main, resnets.weights; resnets.plan, resnets.errors; print(dir(resnets))"
    )
    assert ast.literal_eval(shown) == sorted(resnets.__all__)


def test_no_module_stands_in_the_way_of_a_public_name():
    """A module that is imported becomes an attribute of its package: none may bear a function's name."""
    code = """
import importlib, pkgutil, types, resnets
for module in pkgutil.walk_packages(resnets.__path__, "resnets."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name, room in resnets._ROOM_OF.items():
    value = getattr(resnets, name)
    if isinstance(value, types.ModuleType) or value is not getattr(importlib.import_module(room), name):
        print(name)
"""
    assert python(code) == ""


def test_a_type_checker_sees_the_same_names_in_the_same_rooms():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {node.names[0].asname: node.module for node in block.body if isinstance(node, ast.ImportFrom)}
    assert seen == resnets._ROOM_OF


@pytest.mark.parametrize("name", [name for name in resnets.__all__ if name[0].islower()])
def test_a_name_is_fetched_when_it_is_used_and_not_before(name):
    seen = f"'{name}' in vars(resnets), 'torch' in sys.modules"
    out = python(f"import sys, resnets; print({seen}); resnets.{name}; print('{name}' in vars(resnets))")
    assert out == "False False\nTrue\n"


# The tree of errors ---------------------------------------------------------------------------------------


def test_errors_that_mean_a_wrong_value_are_value_errors_too():
    values = {name for name, kind in ERRORS.items() if issubclass(kind, ValueError)}
    assert values == {"ParameterError", "SpecError", "DataError", "RecipeError", "WriteError"}
    assert issubclass(errors.WriteError, OSError)
    assert all(issubclass(kind, errors.ResnetsError) for kind in ERRORS.values())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: resnets.plan("resnet51"),
        lambda: resnets.ResNetSpec(depths=()),
        lambda: resnets.Preprocessing.evaluation(0),
        lambda: resnets.bench(task="inference"),
        lambda: resnets.bench(engines=["torhc"]),
        lambda: resnets.doctor("cifar11"),
        lambda: resnets.convert("x.pth"),
        lambda: resnets.convert("x.pth", "y.safetensors", images=3),
        lambda: resnets.train("digits", device="tpu"),
        lambda: resnets.train("digits", overrides=["epochs"]),
    ],
)
def test_a_wrong_value_is_a_value_error(wrong):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (that it is one is the point)
        wrong()
    assert isinstance(caught.value, resnets.ResnetsError)


# What messages call things --------------------------------------------------------------------------------


def texts(path):
    """The strings of a file that are no docstrings, those of an f-string put together."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            inside.update(node.values)
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


# Pages show whole commands, made of words.
LIBRARY = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in ("cli", "pages")]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_library_names_parameters_and_no_flags_but_in_whole_commands(path):
    flags = [text for text in texts(path) if re.search(r"--[a-z]", re.sub(r"resnets [a-z]+ [^`]*", "", text))]
    assert flags == []


@pytest.mark.parametrize(
    ("verb", "text", "said"),
    [
        ("train", "give another `out`.", "give another --out."),
        ("train", "try `overrides=['epochs=3', 'flip=false']`", "try --set epochs=3 --set flip=false"),
        ("train", "or `resume=runs/my photos`.", "or --resume runs/my photos."),
        ("train", "`data` is a folder", "DATA is a folder"),
        ("predict", "give them with `data=DATA`.", "give them with --data DATA."),
        ("convert", "`certificate` compares `source` with `target`", "--certificate compares SRC with DST"),
        ("convert", "say so with `source_dialect` and `network`.", "say so with --from and --model."),
        ("predict", "say so with `source_dialect`.", "say so with `resnets convert --from`."),
        ("train", "`resnets list` shows `them`", "`resnets list` shows `them`"),
        ("", "give another `out_of_nowhere`", "give another `out_of_nowhere`"),
    ],
)
def test_the_command_line_makes_flags_of_parameters(verb, text, said):
    assert with_flags(text, commands(), verb) == said


def parameters_named_in_messages():
    known = {param.name for command in commands().values() for param in command.params}
    for path in LIBRARY:
        for text in texts(path):
            for name in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", text):
                yield path.name, name, name in known


def test_every_parameter_that_a_message_names_has_a_flag():
    assert [found for found in parameters_named_in_messages() if not found[2]] == []


@pytest.mark.parametrize(
    "error", [resnets.WriteError("full", OSError(28, "No space left")), AccuracyError(Verdict(9, 0.9, 0.5))], ids=repr
)
def test_an_error_goes_from_process_to_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_classifier_can_be_copied(classifier):
    size = classifier.preprocessing.image_size
    pixels = np.zeros((1, size, size, 3), np.uint8)
    for again in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert again.network is not classifier.network
        assert torch.equal(again.logits(pixels), classifier.logits(pixels))


@pytest.mark.parametrize("wrong", [{"top": 0}, {"batch_size": 0}, {"threads": 0}])
def test_a_wrong_number_is_both_kinds_of_error(classifier, wrong):
    with pytest.raises(resnets.ParameterError):
        resnets.predict(classifier, np.zeros((8, 8, 3), np.uint8), **wrong)


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_a_document_is_alone_whatever_becomes_of_standard_error(trained, tmp_path, stream):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    command = f"{sys.executable} -m resnets predict {trained} {tmp_path / 'a.png'} --json {stream}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert json.loads(done.stdout)["predictions"][0]["path"] == str(tmp_path / "a.png")


def test_a_closed_standard_error_is_no_error(trained):
    code = f"import sys, resnets; sys.stderr.close(); print(resnets.evaluate({trained!r}, 'digits').images)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().isdigit(), done.stderr
