"""The environments of the parity runs are made once, from exact versions."""

import json
from dataclasses import asdict

import environments
import pytest


def pins(environment):
    return (*environment.packages, *environment.bare)


@pytest.mark.parametrize("name", environments.ENVIRONMENTS)
def test_every_version_is_exact(name):
    assert all("==" in pin for pin in pins(environments.ENVIRONMENTS[name]))


def test_a_finished_environment_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNETS_PARITY_HOME", str(tmp_path))
    monkeypatch.setattr(environments.subprocess, "run", pytest.fail)
    monkeypatch.setattr(environments.venv, "create", pytest.fail)
    stamp = tmp_path / "opencv" / "made-of.json"
    stamp.parent.mkdir()
    stamp.write_text(json.dumps(asdict(environments.ENVIRONMENTS["opencv"])))
    assert environments.python_of("opencv") == tmp_path / "opencv" / "bin" / "python"


def test_other_versions_make_it_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNETS_PARITY_HOME", str(tmp_path))
    commands = []
    monkeypatch.setattr(environments.subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(environments.venv, "create", lambda folder, **how: folder.mkdir())
    stamp = tmp_path / "timm" / "made-of.json"
    stamp.parent.mkdir()
    stamp.write_text("another version")
    environments.python_of("timm")
    assert [pin for command in commands for pin in command if "==" in str(pin)] == [
        *pins(environments.ENVIRONMENTS["timm"])
    ]
    assert json.loads(stamp.read_text())["bare"] == list(environments.ENVIRONMENTS["timm"].bare)


def test_a_python_that_is_not_here_is_named():
    with pytest.raises(environments.Unavailable, match=r"Python 3\.1 is not here: .*python3\.1"):
        environments.interpreter("3.1")
