"""Help, quiet, and what a shell completes."""

import json
import logging
import os
import subprocess
import sys

import pytest

from resnets.cli.main import commands, main
from resnets.progress import LOG


@pytest.mark.parametrize("verb", commands())
def test_help_says_what_the_verbs_own_help_says(verb, capsys):
    assert main([verb, "--help"]) == 0
    own = capsys.readouterr().out
    assert main(["help", verb]) == 0
    assert capsys.readouterr().out == own
    assert len(own.splitlines()) > 5


def test_help_alone_lists_the_verbs(capsys):
    assert main(["help"]) == 0
    out = capsys.readouterr().out
    assert [verb for verb in commands() if f"  {verb} " not in out] == []


def test_help_for_a_verb_that_is_not_there_names_the_nearest(capsys):
    assert main(["help", "trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize("order", [["--quiet", "evaluate"], ["-q", "evaluate"], ["evaluate", "--quiet"]])
def test_quiet_says_nothing_but_the_result(trained, capsys, order):
    assert main([*order, trained, "digits", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["images"] > 100


def test_quiet_is_over_when_the_command_is(trained, capsys):
    assert main(["predict", trained, "no-such.png", "-q"]) == 2
    assert "There is nothing to predict" in capsys.readouterr().err
    assert main(["show", "resnet20", "--torch", "/no/such/folder/x.py", "--quiet"]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert main(["predict", "box", "no-such.png", "-q"]) == 2
    capsys.readouterr()
    assert LOG.isEnabledFor(logging.INFO)


def test_behind_two_dashes_a_word_is_a_name(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", trained, "--", "--quiet"]) == 2
    assert "--quiet" in capsys.readouterr().err


def completed(*words):
    environment = {
        **os.environ,
        "_RESNETS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("resnets", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = "import sys; from resnets.cli.main import main; sys.argv = ['resnets']; main([])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ex"], {"explain", "export"}),
        (["show", "resnet5"], {"resnet50", "resnet50_v1", "resnet50d", "resnet56"}),
        (["train", "photos", "--recipe", "pap"], {"paper-cifar"}),
        (["help", "tr"], {"train"}),
    ],
)
def test_a_shell_completes_verbs_networks_and_recipes(words, offered):
    assert set(completed(*words)) == offered


def test_completing_is_light():
    """No torch is imported for it."""
    code = (
        "import sys; from resnets.cli.complete import networks, recipes;"
        "print(networks('resnet18'), recipes('digits'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['resnet18', 'resnet18d'] ['digits'] False\n"
