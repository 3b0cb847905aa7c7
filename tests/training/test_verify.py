"""`resnets train --verify-resume`: kills, resumes, compares, and says so."""

import json

import pytest

from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import ParameterError, ResnetsError
from resnets.training import verify
from resnets.training.verify import Verdict, verify_resume

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


def test_a_training_that_goes_on_to_the_bit(tmp_path, monkeypatch):
    """Over the end of an epoch, with mixup and an average of the weights."""
    monkeypatch.chdir(tmp_path)
    wishes = ["batch_size=256", "mixup=0.2", "ema=0.9"]
    verdict = verify_resume(data="digits", model=TINY, recipe="quick", epochs=3, overrides=wishes)
    assert verdict.holds
    assert 2 <= verdict.killed_at < verdict.steps < verdict.total
    assert verdict.resumed_at <= verdict.killed_at
    assert verdict.sentence().startswith(f"resume is exact here: killed at step {verdict.killed_at} of ")
    assert list(tmp_path.iterdir()) == []  # nothing is kept


def test_a_difference_is_seen(monkeypatch):
    """What the three trainings say is made up here: the last one has another loss, or another state."""
    losses = {str(step): float(step).hex() for step in range(20)}
    alone = {"steps": 20, "total": 99, "losses": losses, "state": "a"}

    def verdict(**changed):
        resumed = {"losses": {step: losses[step] for step in map(str, range(7, 20))}, "state": "a", **changed}
        told = {"alone": alone, "killed": {}, "resumed": resumed}
        monkeypatch.setattr(verify, "_work", lambda place, name, order: told[name])
        return verify_resume(data="digits")

    good = verdict()
    assert (good.holds, good.resumed_at, good.differs_at) == (True, 7, None)
    late = verdict(losses={**{str(step): losses[str(step)] for step in range(7, 20)}, "12": (0.5).hex()})
    assert (late.holds, late.differs_at, late.state) == (False, 12, True)
    assert "NOT exact here" in late.sentence()
    assert "the loss of step 12 differs" in late.sentence()
    other = verdict(state="b")
    assert (other.holds, other.differs_at, other.state) == (False, None, False)
    assert "the state differs" in other.sentence()


def test_what_cannot_be_verified_is_said():
    with pytest.raises(ParameterError, match="`minutes` makes a training of whatever fits"):
        verify_resume(data="digits", minutes=3)
    with pytest.raises(ResnetsError, match="There is no folder, archive, table or data set"):
        verify_resume(data="no-such-folder")


def test_on_the_command_line(monkeypatch, capsys):
    asked = []
    verdict = Verdict(holds=False, steps=20, total=90, killed_at=5, resumed_at=4, differs_at=6, state=False)
    monkeypatch.setattr(verify, "verify_resume", lambda **given: asked.append(given) or verdict)
    assert main(["train", "photos/", "--verify-resume", "--set", "ema=0.9", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == verdict.document()
    assert asked == [{"data": "photos/", "overrides": ["ema=0.9"]}]
    assert main(["train", "--resume", "runs/x", "--verify-resume"]) == 2
    assert "name its data, and no run" in capsys.readouterr().err
