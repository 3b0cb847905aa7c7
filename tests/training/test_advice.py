"""What is said of a training that ended without a good model, and what to try."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.evaluation.guessing import against_guessing
from resnets.evaluation.metrics import measure
from resnets.training import Recipe, train
from resnets.training.advice import advice
from resnets.weights.run import TrainResult

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
CLASSES = ("ant", "bee")


@pytest.fixture
def noise(tmp_path):
    """Photos of nothing: whatever is learnt of them holds for no other."""
    random = np.random.default_rng(0)
    for split, images in (("train", 8), ("val", 20)):
        for label in CLASSES:
            folder = tmp_path / "noise" / split / label
            folder.mkdir(parents=True)
            for number in range(images):
                Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "noise"


def test_a_set_that_was_learnt_by_heart(noise, tmp_path, capsys):
    chosen = ["--set", "crop=none", "--set", "flip=false", "--set", "label_smoothing=0", "--set", "batch_size=8"]
    plain = ["--recipe", "quick", "--model", "resnet20", "--image-size", "12", "--epochs", "25", "--set", "ema=0"]
    command = ["train", str(noise), "--out", str(tmp_path / "run"), *plain, *chosen, "--set", "start_size=1"]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["baseline"], document["better_than_guessing"]) == (0.5, False)
    assert any("knows its 16 training images" in remark and "`weights`" in remark for remark in document["remarks"])
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "It is no better than guessing: " in out
    assert "or --weights of a trained network to start from" in out  # as flags
    assert "`weights`" not in out


def said(tmp_path, predicted, loss, fallbacks=0, **recipe):
    """What is said of forty images of two classes, after a last epoch with this loss; None: no log."""
    labels = np.repeat([0, 1], 20)
    predicted = np.array(predicted)
    figures = {**measure(np.eye(2)[predicted], labels, CLASSES), **against_guessing(labels, predicted, CLASSES)}
    if loss is not None:
        (tmp_path / "log.jsonl").write_text(json.dumps({"kind": "epoch", "step": 4, "epoch": 1, "loss": loss}) + "\n")
    prepared = SimpleNamespace(
        recipe=Recipe(**recipe),
        folder=tmp_path,
        train=SimpleNamespace(images=range(60)),
        record=SimpleNamespace(classes=CLASSES),
        batches=lambda: SimpleNamespace(batch_size=8),
    )
    return " ".join(advice(prepared, SimpleNamespace(rate_share=0.25**fallbacks, fallbacks=[{}] * fallbacks), figures))


def test_a_collapse_is_told_from_a_set_that_was_not_learnt(tmp_path):
    one_class = said(tmp_path, [0] * 40, loss=0.1)
    assert 'Every answer is "ant".' in one_class
    assert "It knows its 60 training images (loss 0.1, where guessing gives 0.693)" in one_class
    assert "more images at once than 8" in one_class
    neither = said(tmp_path, [0, 1] * 20, loss=0.7)
    assert "It did not learn its 60 training images either (loss 0.7, where guessing gives 0.693)" in neither
    assert "learning_rate=0.013" in neither


def test_a_good_end_needs_no_advice_but_the_rate_that_it_found(tmp_path):
    right = [0] * 20 + [1] * 20
    assert said(tmp_path, right, loss=0.1) == ""
    once, twice = (said(tmp_path, right, 0.1, fallbacks=times, learning_rate=8.0) for times in (1, 2))
    assert "fell back once, from 8 to 2: begin with `overrides=['learning_rate=2']`" in once
    assert "fell back 2 times, from 8 to 0.5" in twice


def test_a_run_that_has_lost_its_log_can_be_concluded(tmp_path):
    assert said(tmp_path, [0] * 40, loss=None).startswith("It is no better than guessing")


def test_a_rate_that_led_to_nothing_is_not_advised(tmp_path):
    """Two sentences, of which one says to begin with that rate and the other with a lower one."""
    nothing = said(tmp_path, [0] * 40, loss=4.0, fallbacks=1, learning_rate=8.0)
    assert "fell back once, from 8 to 2." in nothing
    assert "begin with" not in nothing
    assert "`overrides=['learning_rate=0.5']`" in nothing


def test_a_result_by_an_older_version_knows_nothing_of_it():
    old = {"run": "r", "model": "m", "top1": 0.5, "seconds": 1.0, "images": 4, "epochs": 1, "skipped_files": []}
    result = TrainResult.from_dict(old)
    assert (result.baseline, result.better_than_guessing) == (None, None)
    assert (result.unrecognised, result.fallbacks, result.remarks) == ((), (), ())


def test_a_training_of_few_images_says_that_it_cannot_be_told(photo_folder, tmp_path):
    result = train(photo_folder(), model=SPEC, epochs=1, image_size=8, out=tmp_path / "run")
    assert result.better_than_guessing is None
    assert "cannot be told, since there are too few images" in result.remarks[0]
