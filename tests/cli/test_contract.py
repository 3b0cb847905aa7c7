"""What others build on: the flags of every verb, exit statuses, public names, keys of JSON documents.

`tests/golden/contract.json` pins them, so that none changes unseen. When a change is meant, write the
golden again (`python tests/cli/test_contract.py`), and look at its diff before you commit it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import resnets
from resnets import errors
from resnets.cli.main import commands, main

GOLDEN = Path(__file__).parents[1] / "golden" / "contract.json"


def contract():
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ResnetsError)]
    return {
        "public_names": sorted(resnets.__all__),
        "exit_status_of_errors": {kind.__name__: kind.exit_status for kind in tree},
        "verbs": {
            name: [flag for param in command.params for flag in (*param.opts, *param.secondary_opts)]
            for name, command in commands().items()
        },
    }


@pytest.mark.parametrize("part", ["public_names", "exit_status_of_errors", "verbs"])
def test_the_contract_is_the_golden(part):
    assert contract()[part] == json.loads(GOLDEN.read_text())[part]


@pytest.mark.parametrize("name", resnets.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(resnets, name)) or name == "__version__"
    assert name in dir(resnets)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'resnets' has no attribute 'resnet18'"):
        _ = resnets.resnet18


@pytest.mark.parametrize(
    ("command", "keys", "row_keys"),
    [
        ("list", None, {"name", "parameters", "macs", "image_size"}),
        (
            "show resnet20",
            {"name", "parameters", "macs", "spec", "rows"},
            {"role", "kind", "output", "parameters", "macs", "kernel", "stride", "padding", "groups", "bias"},
        ),
    ],
)
def test_no_key_of_a_json_document_vanishes(capsys, command, keys, row_keys):
    assert main([*command.split(), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    if keys:
        assert keys <= set(document)
    assert all(row_keys <= set(row) for row in (document["rows"] if keys else document))


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (errors.SpecError("No such thing."), 2, "error: No such thing.\n"),
        (errors.TrainingError("The loss is NaN."), 1, "error: The loss is NaN.\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_every_ending_is_one_line_and_a_status(monkeypatch, capsys, raised, status, said):
    fail_with(monkeypatch, raised)
    assert main(["show", "resnet18"]) == status
    assert capsys.readouterr() == ("", said)


def test_a_bug_shows_its_traceback(monkeypatch):
    fail_with(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["show", "resnet18"])


def fail_with(monkeypatch, problem):
    def fails(*_, **__):
        raise problem

    monkeypatch.setattr("resnets.architecture.plan", fails)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("shwo", "show"),
        ("show resnet18 --jsn", "--json"),
        ("show --classes", "--classes"),
        ("show resnet18 resnet34", "resnet34"),
    ],
)
def test_wrong_usage_is_status_2_and_says_where_help_is(capsys, command, said):
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, hint = err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert hint.endswith("--help`.")


@pytest.mark.parametrize("command", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb_and_is_status_0(capsys, command):
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    listed = out.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.strip()] == list(commands())


@pytest.mark.parametrize("verb", commands())
def test_every_verb_has_examples_of_itself(capsys, verb):
    assert main([verb, "--help"]) == 0
    examples = capsys.readouterr().out.partition("Examples:\n")[2]
    assert f"resnets {verb}" in examples.partition("\n\n")[0]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"resnets {resnets.__version__}\n"


@pytest.mark.parametrize("command", ["list", "list --json", "show resnet1202 --json"])
def test_a_reader_that_goes_away_is_no_traceback(command):
    process = subprocess.Popen(
        [sys.executable, "-m", "resnets", *command.split()],
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()  # long before the first line is written
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_an_output_that_knows_ascii_alone_still_gets_the_table():
    done = subprocess.run(
        [sys.executable, "-m", "resnets", "show", "resnet18"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert b"64?112?112" in done.stdout


def test_json_output_survives_odd_names_and_numbers(capsys):
    from resnets.cli.output import emit

    emit({"path": "caf\udce9/é.jpg", "loss": float("nan"), "rates": (0.5, float("inf"))})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"path": "caf\udce9/é.jpg", "loss": None, "rates": [0.5, None]}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(contract(), indent=2) + "\n")
