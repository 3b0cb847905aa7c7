from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import resnets
from resnets.architecture import ResNetSpec
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.data.split import split as divide
from resnets.errors import DataError, ModelFileError
from resnets.evaluation import answers
from resnets.evaluation import evaluation as evaluation_room
from resnets.inference import Classifier
from resnets.network import create
from resnets.weights import Calibration, Model, Provenance

CLASSES = ("cat", "dog", "eel")
TINY = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)


def make(classes=CLASSES, **fields) -> Classifier:
    network = create(TINY, num_classes=len(classes), seed=0)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    return Classifier(Model(network, tuple(classes), Preprocessing.evaluation(8), **fields))


def trained_on(data: Path | str, seed: int = 3, fraction: float = 0.25) -> Provenance:
    """The provenance of a model that was trained on class folders and does not know its images one by one."""
    source = open_source(data)
    record = divide(source, seed=seed, fraction=fraction).record()
    del record["held_out_keys"]
    return Provenance(dataset={"name": source.name, "fingerprint": source.fingerprint, "split": record})


def evaluate(*arguments, **options) -> dict:
    """What a program reads of an evaluation."""
    return evaluation_room.evaluate(*arguments, **options).document()


@pytest.fixture
def judged(monkeypatch) -> list[str]:
    """The keys of the images that the following evaluations ask for."""
    keys, cached = [], evaluation_room.cached

    def spy(source, samples, *arguments, **options):
        keys.extend(sample.key for sample in samples)
        return cached(source, samples, *arguments, **options)

    monkeypatch.setattr(evaluation_room, "cached", spy)
    return keys


# Every image once, and the same pixels as in prediction --------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_every_image_counts_exactly_once(photo_folder, monkeypatch, batch):
    monkeypatch.setattr(answers, "BATCH", batch)
    photos = photo_folder(CLASSES, images=5, splits=["train", "val"])
    (photos / "val" / "cat" / "2.jpg").write_bytes(b"broken")
    (photos / "val" / "eel" / "0.jpg").write_bytes(b"")
    result = evaluate(make(), photos)
    assert result["images"] == 13
    files = [path for path in sorted((photos / "val").rglob("*.jpg")) if path.stat().st_size > 10]
    first = [prediction.top[0][0] for prediction in make().predict(files)]
    right = [path.parent.name == name for path, name in zip(files, first, strict=True)]
    assert (len(right), sum(right) / 13) == (13, result["top1"])
    assert [entry["path"] for entry in result["skipped_files"]] == ["val/cat/2.jpg", "val/eel/0.jpg"]
    assert result["images"] + len(result["skipped_files"]) == 15
    assert {row["name"]: row["images"] for row in result["per_class"]} == {"cat": 4, "dog": 5, "eel": 4}


def test_evaluation_sees_what_prediction_sees(photo_folder):
    classifier = make(calibration=Calibration(1.7))
    photos = photo_folder(CLASSES, images=7, splits=["train", "val"], size=(33, 21))
    seen, logits = [], classifier.logits

    def spy(pixels):
        seen.append(pixels.copy())
        return logits(pixels)

    classifier.logits = spy
    result = evaluate(classifier, photos)
    files = sorted((photos / "val").rglob("*.jpg"))
    predictions = classifier.predict(files, top=len(CLASSES))
    for_evaluation, for_prediction = seen
    assert np.array_equal(for_evaluation, for_prediction)

    own = [dict(p.top)[file.parent.name] for file, p in zip(files, predictions, strict=True)]
    first = [p.top[0][0] for p in predictions]
    right = [name == file.parent.name for file, name in zip(files, first, strict=True)]
    assert 0 < sum(right) < len(files), "a case that can tell"
    assert result["top1"] == np.mean(right)
    assert result["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
    for row in result["per_class"]:
        named = [ok for ok, name in zip(right, first, strict=True) if name == row["name"]]
        assert row["precision"] == (np.mean(named) if named else None)


def test_the_document_is_json_and_complete(photo_folder):
    result = evaluate(make(), photo_folder(CLASSES, splits=["train", "test"]))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {"images", "top1", "top5", "macro_f1", "loss", "ece", "per_class", "skipped_files"} <= set(result)
    assert {"name", "images", "precision", "recall"} <= set(result["per_class"][0])
    assert result["split"] == "test"
    assert result["seconds"] > 0


# Which images ---------------------------------------------------------------------------------------------


def test_the_held_out_split_is_the_default(photo_folder, judged, capsys):
    evaluate(make(), photo_folder(CLASSES, splits=["train", "val", "test"]))
    assert {key.split("/")[0] for key in judged} == {"val"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wanted", ["train", "test", "val", "validation"])
def test_any_split_can_be_asked_for(photo_folder, judged, wanted):
    result = evaluate(make(), photo_folder(CLASSES, splits=["train", "val", "test"]), split=wanted)
    assert result["split"] == wanted[:5].replace("valid", "val")
    assert {key.split("/")[0] for key in judged} == {result["split"]}
    assert len(judged) == 12


def test_a_split_that_is_not_there(photo_folder):
    with pytest.raises(DataError, match=r'There is no split "tset": .* has train, val\.'):
        evaluate(make(), photo_folder(CLASSES, splits=["train", "val"]), split="tset")


def test_training_images_are_never_judged_silently(photo_folder, judged, capsys):
    photos = photo_folder(CLASSES, images=8)
    classifier = make(provenance=trained_on(photos))
    result = evaluate(classifier, photos)
    held_out = divide(open_source(photos), seed=3, fraction=0.25).held_out
    assert judged == [sample.key for sample in held_out]
    assert (result["images"], result["split"]) == (6, "val")
    assert capsys.readouterr().err == ""

    judged.clear()
    assert evaluate(classifier, photos, split="train")["images"] == 18
    assert not set(judged) & {sample.key for sample in held_out}


def test_other_images_are_all_judged_and_it_is_said(photo_folder, judged, capsys):
    photos = photo_folder(CLASSES, images=8)
    classifier = make(provenance=trained_on(photos))
    shutil.copy(photos / "cat" / "0.jpg", photos / "cat" / "new.jpg")
    result = evaluate(classifier, photos)
    assert (result["images"], result["split"]) == (25, "all")
    assert "all its 25 files are judged; any training image among them flatters" in capsys.readouterr().err
    with pytest.raises(DataError, match="leave `split` out"):
        evaluate(classifier, photos, split="val")


@pytest.mark.parametrize("provenance", [{}, {"dataset": {}}, {"dataset": {"fingerprint": None, "split": {}}}])
def test_a_model_of_unknown_origin_judges_all(photo_folder, capsys, provenance):
    assert evaluate(make(provenance=Provenance.from_dict(provenance)), photo_folder(CLASSES))["split"] == "all"
    assert "has no splits" in capsys.readouterr().err


def test_the_name_of_a_data_set_will_do():
    classifier = make([str(digit) for digit in range(10)], provenance=trained_on("digits", 0, 0.2))
    result = evaluate(classifier, "digits")
    assert result["split"] == "val"
    assert 355 <= result["images"] <= 365


# Classes by name ------------------------------------------------------------------------------------------


def test_classes_are_matched_by_name(photo_folder):
    photos = photo_folder(CLASSES, splits=["train", "val"])
    classifier = make()
    wanted = evaluate(classifier, photos)
    order = [2, 0, 1]
    with torch.no_grad():
        for name in ("head.linear.weight", "head.linear.bias"):
            parameter = classifier.network.get_parameter(name)
            parameter.copy_(parameter[order].clone())
    classifier = Classifier(replace(classifier.model, classes=tuple(CLASSES[place] for place in order)))
    result = evaluate(classifier, photos)
    for key in ("top1", "top5", "macro_f1"):
        assert result[key] == wanted[key]
    assert result["loss"] == pytest.approx(wanted["loss"])
    assert [row["name"] for row in result["per_class"]] == ["eel", "cat", "dog"]


def test_a_class_without_images_has_no_recall(photo_folder):
    result = evaluate(make(("ant", "cat", "dog", "eel")), photo_folder(CLASSES, splits=["train", "val"]))
    ant = result["per_class"][0]
    assert (ant["name"], ant["images"], ant["recall"]) == ("ant", 0, None)


def test_a_class_that_the_model_does_not_know_is_named(photo_folder):
    photos = photo_folder(("dogs", "eels"), splits=["train", "val"])
    with pytest.raises(DataError, match=r'does not know the class "dogs" of the data\. Did you mean "dog"\?'):
        evaluate(make(), photos)


def test_an_answer_that_is_not_finite_is_an_error(photo_folder):
    classifier = make()
    with torch.no_grad():
        classifier.network.get_parameter("head.linear.bias")[1] = float("nan")
    with pytest.raises(ModelFileError, match=r"answer to val/cat/0\.jpg is not finite"):
        evaluate(classifier, photo_folder(CLASSES, splits=["train", "val"]))


def test_nothing_usable_is_an_error(photo_folder):
    photos = photo_folder(CLASSES, images=2, splits=["train", "val"])
    for path in (photos / "val").rglob("*.jpg"):
        os.truncate(path, 10)
    with pytest.raises(DataError, match="None of the 6 files"):
        evaluate(make(), photos)


def test_it_is_public():
    assert resnets.evaluate is evaluation_room.evaluate
