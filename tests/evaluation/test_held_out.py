"""Which images judge a model: it knows its training images again by their content, wherever they lie."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.acceptance import gate
from resnets.architecture import ResNetSpec
from resnets.data import known
from resnets.data.identity import digest_of
from resnets.data.known import SHORT, Known
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.data.split import split as divide
from resnets.errors import DataError
from resnets.evaluation import compare, evaluate
from resnets.evaluation.evaluation import judge_source
from resnets.explanation.neighbours import neighbours
from resnets.inference import Classifier
from resnets.inference.export import metadata
from resnets.network import create
from resnets.pages import report
from resnets.weights import Model, Provenance
from resnets.weights import load as load_model
from resnets.weights import save as save_model

CLASSES = ("cat", "dog", "eel")
TINY = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)


def trained_on(data: Path, seed: int = 3, classes=CLASSES, **contents) -> Classifier:
    """A model whose training took these images: what it holds of them is what a training writes."""
    source = open_source(data)
    splits = divide(source, seed=seed, fraction=0.25)
    record = splits.record()
    record.pop("held_out_keys", None)
    known = Known.of(source, splits).shortened().to_dict() | contents
    dataset = {"name": source.name, "fingerprint": source.fingerprint, "split": record, "contents": known}
    network = create(TINY, num_classes=len(classes), seed=0)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    return Classifier(Model(network, classes, Preprocessing.evaluation(8), provenance=Provenance(dataset=dataset)))


@pytest.fixture
def photos(photo_folder) -> Path:
    """Class folders with 8 photos each, of which 2 are held out."""
    return photo_folder(CLASSES, images=8)


@pytest.fixture
def model(photos) -> Classifier:
    return trained_on(photos)


def sides(photos: Path, seed: int = 3) -> tuple[list[Path], list[Path]]:
    """The files that train and those that are held out."""
    splits = divide(open_source(photos), seed=seed, fraction=0.25)
    return [photos / s.key for s in splits.train], [photos / s.key for s in splits.held_out]


def judged(evaluation) -> set[bytes]:
    """The contents that judged, from wherever they were read."""
    return {sample.key for sample in evaluation.judgement.samples}


def add(photos: Path, label: str, count: int, seed: int = 77) -> list[str]:
    """New photos in a class folder; their keys."""
    random, keys = np.random.default_rng(seed), []
    for number in range(count):
        keys.append(f"{label}/new{number}.png")
        path = photos / keys[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return keys


# Where the data lies and what it is called changes nothing ----------------------------------------------


def copied(photos: Path) -> Path:
    return shutil.copytree(photos, photos.with_name("copy"))


def touched(photos: Path) -> Path:
    for path in photos.rglob("*.jpg"):
        os.utime(path, (10**9, 10**9))
    return photos


def renamed(photos: Path) -> Path:
    for number, path in enumerate(sorted(photos.rglob("*.jpg"), reverse=True)):
        path.rename(path.with_name(f"IMG_{number:03}.jpeg"))
    return photos


def zipped(photos: Path) -> Path:
    with zipfile.ZipFile(photos.with_suffix(".zip"), "w") as archive:
        for path in photos.rglob("*.jpg"):
            archive.write(path, path.relative_to(photos))
    return photos.with_suffix(".zip")


@pytest.mark.parametrize("change", [copied, touched, renamed, zipped])
def test_moved_data_is_judged_by_the_same_images(change, photos, model, capsys):
    before = evaluate(model, photos)
    assert (before.split, before.judged) == ("val", {"held_out": 6, "new": 0, "trained_on": 0})
    held_out = {digest_of(path.read_bytes()) for path in sides(photos)[1]}
    place = change(photos)
    after = evaluate(model, place)
    source = open_source(place)
    assert {source.contents[sample.key] for sample in after.judgement.samples} == held_out
    assert after.judged == before.judged
    assert (after.top1, after.loss) == (before.top1, before.loss)
    assert len(after.left_out["trained_on"]) == 18
    assert capsys.readouterr().err == ""


def test_a_model_file_alone_knows_them(photos, model, tmp_path):
    save_model(tmp_path / "model.safetensors", model.model)
    photos = copied(photos)
    assert evaluate(tmp_path / "model.safetensors", photos).judged["held_out"] == 6
    contents = load_model(tmp_path / "model.safetensors").provenance.dataset["contents"]
    assert len(base64.b64decode(contents["trained_on"])) == 18 * SHORT


def test_an_exported_file_does_not_carry_them(model):
    told = json.loads(metadata(model, "float32")["provenance"])["dataset"]
    assert told.keys() == model.provenance.dataset.keys() - {"contents"}


def test_a_new_photo_is_new_and_not_judged_beside_the_held_out_ones(photos, model, capsys):
    before = evaluate(model, photos)
    keys = add(photos, "cat", 2)
    after = evaluate(model, photos)
    assert judged(after) == judged(before)
    assert after.judged == {"held_out": 6, "new": 0, "trained_on": 0}
    assert after.document()["left_out"]["new"] == keys
    assert "2 images new to the model, left out: `split='new'` judges it by what is new" in capsys.readouterr().err
    new = evaluate(model, photos, split="new")
    assert (judged(new), new.split) == (set(keys), "new")
    assert new.document()["judged_paths"] == {"new": keys, "trained_on": []}
    both = evaluate(model, photos, split="unseen")
    assert both.judged == {"held_out": 6, "new": 2, "trained_on": 0}


def test_a_photo_less_leaves_the_others(photos, model, capsys):
    train, held_out = sides(photos)
    for path in (train[0], held_out[0]):
        path.unlink()
    after = evaluate(model, photos)
    assert judged(after) == {path.relative_to(photos).as_posix() for path in held_out[1:]}
    assert capsys.readouterr().err == ""


def test_copies_have_the_part_of_their_original(photos, model):
    train, held_out = sides(photos)
    shutil.copy(train[0], photos / "cat" / "copy of trained.jpg")
    shutil.copy(held_out[0], held_out[0].with_name("copy of held out.jpg"))
    after = evaluate(model, photos)
    assert after.judged == {"held_out": 7, "new": 0, "trained_on": 0}
    assert "cat/copy of trained.jpg" in after.left_out["trained_on"]


# Training images never judge silently ---------------------------------------------------------------------


def test_training_images_alone_do_not_judge(photos, model):
    for path in sides(photos)[1]:
        path.unlink()
    with pytest.raises(DataError, match=r"The 18 images are ones that the model was trained on.*--split train"):
        evaluate(model, photos)
    with pytest.raises(DataError, match="trained on"):
        gate.examples(model, photos)


def test_training_images_that_are_asked_for_judge_and_it_is_said(photos, model, capsys):
    result = evaluate(model, photos, split="train")
    assert result.judged == {"held_out": 0, "new": 0, "trained_on": 18}
    assert len(result.document()["judged_paths"]["trained_on"]) == 18
    assert "The model was trained on 18 of the 18 images that judge it (train)" in capsys.readouterr().err


def test_few_that_are_left_of_the_held_out_ones_are_counted(photos, model, capsys):
    _, held_out = sides(photos)
    for path in held_out[1:4]:
        path.unlink()
    assert evaluate(model, photos).document()["images"] == 3
    assert "held out" not in capsys.readouterr().err, "half of them, or more"
    held_out[4].unlink()
    assert evaluate(model, photos).document()["images"] == 2
    assert "Training held out 6 images, of which 2 are here to judge the model." in capsys.readouterr().err


def test_new_images_judge_where_nothing_is_held_out(photos, model, capsys):
    train, held_out = sides(photos)
    for path in (*held_out, *train[3:]):
        path.unlink()
    add(photos, "dog", 4)
    result = evaluate(model, photos)
    assert (result.split, result.judged) == ("new", {"held_out": 0, "new": 4, "trained_on": 0})
    assert len(result.left_out["trained_on"]) == 3
    said = capsys.readouterr().err
    assert "Nothing of" in said
    assert "what is new judges the model, 4 images; 3 that it was trained on are left out" in said


def test_one_held_out_image_among_new_ones_does_not_judge_alone(photos, model, capsys):
    """A folder of new photos into which one known image has found its way."""
    train, held_out = sides(photos)
    for path in (*held_out[1:], *train[1:]):
        path.unlink()
    add(photos, "dog", 20)
    result = evaluate(model, photos)
    assert (result.split, result.judged) == ("unseen", {"held_out": 1, "new": 20, "trained_on": 0})
    assert "judge the model, 1 image and 20 images; 1 that" in capsys.readouterr().err


def test_a_split_of_the_data_that_was_trained_on_is_said_and_named(photo_folder, tmp_path, capsys):
    photos = photo_folder(CLASSES, images=8, splits=["train", "val"])
    model = trained_on(photos)
    result = evaluate(model, photos)
    assert result.judged == {"held_out": 24, "new": 0, "trained_on": 0}
    assert capsys.readouterr().err == ""
    shutil.copy(photos / "train" / "cat" / "0.jpg", photos / "val" / "cat" / "leaked.jpg")
    add(photos, "val/cat", 1)
    result = evaluate(model, photos)
    assert result.judged == {"held_out": 24, "new": 1, "trained_on": 1}
    assert result.judged_paths["trained_on"] == ("val/cat/leaked.jpg",)
    assert result.judged_paths["new"] == ("val/cat/new0.png",)
    assert "trained on 1 of the 26 images that judge it (val)" in capsys.readouterr().err
    flatters = "The model was trained on 1 of the 26 images that judge it (val), which flatters it."
    assert result.document()["remarks"][0] == flatters
    report.write(tmp_path / "flattered.html", model, result, data=str(photos))
    page = (tmp_path / "flattered.html").read_text()
    assert flatters in page
    assert "26 held-out images" not in page
    assert compare(model, model, photos, "val").verdict.endswith(f"the first: {flatters} the second: {flatters}")
    assert judged(evaluate(model, photos, split="new")) == {"val/cat/new0.png"}
    # The training side alone, given as class folders of its own.
    with pytest.raises(DataError, match="The 24 images are ones that the model was trained on"):
        evaluate(model, photos / "train")
    assert evaluate(model, photos / "val").judged == {"held_out": 24, "new": 0, "trained_on": 0}


def test_a_split_of_the_data_is_judged_without_a_look_into_the_others(photo_folder, monkeypatch):
    photos = photo_folder(CLASSES, images=4, splits=["train", "val"])
    model = trained_on(photos)
    for path in (photos / "train").rglob("*.jpg"):
        path.write_bytes(b"not read")
    source = open_source(photos)
    keys, read = [], source.read
    monkeypatch.setattr(source, "read", lambda key: keys.append(key) or read(key))
    assert judge_source(model, source, None).judged == {"held_out": 12, "new": 0, "trained_on": 0}
    assert {key.split("/")[0] for key in keys} == {"val"}


def test_a_split_that_is_not_there_names_those_that_are(photos, model):
    with pytest.raises(DataError, match=r'There is no split "new": .* has val, unseen, train|has .*train'):
        evaluate(model, photos, split="new")


def test_two_models_are_compared_on_what_neither_has_seen(photos, model, capsys):
    other = trained_on(photos, seed=4)
    held_out = sides(photos, 3)[1], sides(photos, 4)[1]
    keys = set(add(photos, "cat", 3))
    common = {path.relative_to(photos).as_posix() for path in set(held_out[0]) & set(held_out[1])}
    result = compare(model, other, photos)
    assert result.images == len(common | keys)

    shutil.copytree(photos, photos.with_name("sorted") / "val")
    shutil.copytree(photos, photos.with_name("sorted") / "train")
    given = compare(model, other, photos.with_name("sorted"))
    assert given.images == result.images, "though all of them lie in val/"


def test_what_calibrates_int8_is_no_copy_of_what_judges(photo_folder, monkeypatch):
    monkeypatch.setattr(gate, "FEWEST", 1)
    photos = photo_folder(CLASSES, images=12)
    model = trained_on(photos)
    held_out = sides(photos)[1]
    for number, path in enumerate(held_out):
        shutil.copy(path, path.with_name(f"copy{number}.jpg"))
    new = add(photos, "cat", 1)
    examples = gate.examples(model, photos)
    assert len(examples.judged.samples) == 2 * len(held_out)
    calibration = {image.tobytes() for image in examples.calibration}
    assert not calibration & {image.tobytes() for image in examples.judged.images}
    assert len(examples.calibration) == 36 - len(held_out) + len(new)


def test_neighbours_are_the_images_that_were_trained_on(photos, model, capsys):
    train, held_out = sides(photos)
    place = renamed(copied(photos))
    add(place, "cat", 2)
    found = neighbours(model, place, model.preprocessing.pixels(Image.open(held_out[0])), count=100)
    source = open_source(place)
    assert {source.contents[one.key] for one in found} == {digest_of(path.read_bytes()) for path in train}
    assert "flatters" not in capsys.readouterr().err


# What a model file says of itself is not trusted ----------------------------------------------------------


@pytest.mark.parametrize(
    "contents",
    [
        None,
        [],
        {},
        {"bytes": True},
        {"bytes": 0},
        {"bytes": 10**9},
        {"bytes": "6"},
        {"trained_on": "not base64!"},
        {"trained_on": "AAAA"},
        {"held_out": 3},
        {"held_out": None},
        {"trained_on": "ä" * 8},
    ],
)
def test_nonsense_of_a_model_file_is_no_knowledge(contents, photos, capsys):
    model = trained_on(photos, **(contents or {}))
    dataset = dict(model.provenance.dataset)
    if not contents:
        dataset["contents"] = contents
    provenance = Provenance(dataset=dataset)
    assert Known.from_dict(dataset["contents"]) is None
    classifier = Classifier(Model(model.network, CLASSES, model.preprocessing, provenance=provenance))
    assert (evaluate(classifier, photos).split, evaluate(classifier, photos).judged) == ("val", None), "by fingerprint"
    add(photos, "cat", 1)
    assert evaluate(classifier, photos).split == "all"
    assert "any training image among them flatters the model" in capsys.readouterr().err


def test_more_digests_than_a_model_file_may_hold_are_not_read(photos, model, monkeypatch):
    monkeypatch.setattr(known, "MOST", 10)
    assert Known.from_dict(model.provenance.dataset["contents"]) is None
    assert Known(16, (bytes(16),) * 8, (bytes(16),) * 3).shortened() is None
    assert evaluate(model, photos).split == "val", "by its fingerprint"


@pytest.mark.parametrize(
    "record",
    [
        {"seed": -1},
        {"seed": 2**40},
        {"seed": True},
        {"fraction": 7.0},
        {"fraction": "0.2"},
        {"order": "x"},
        {"order": []},
    ],
)
def test_nonsense_of_a_split_is_no_split(record, photos, model):
    dataset = {**model.provenance.dataset, "contents": None}
    dataset["split"] = {**dataset["split"], **record}
    classifier = Classifier(Model(model.network, CLASSES, model.preprocessing, provenance=Provenance(dataset=dataset)))
    assert evaluate(classifier, photos).split == "all"


# Classes: judged on what can be judged --------------------------------------------------------------------


def defined(evaluation) -> dict:
    """The document, which holds no NaN."""
    return json.loads(json.dumps(evaluation.document(), allow_nan=False))


@pytest.mark.parametrize("splits", [(), ("train", "val")])
def test_one_class_alone_can_judge(splits, photo_folder):
    model = trained_on(photo_folder(CLASSES, name="photos"))
    other = photo_folder(("dog",), images=5, splits=splits, name="dogs", size=(20, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = defined(evaluate(model, other))
    assert found["images"] == 5
    rows = {row["name"]: row for row in found["per_class"]}
    assert (rows["dog"]["images"], rows["cat"]["images"], rows["cat"]["recall"]) == (5, 0, None)
    assert rows["dog"]["recall"] == found["top1"]
    precision = rows["dog"]["precision"] or 0
    both = precision + found["top1"]
    assert found["macro_f1"] == pytest.approx(2 * precision * found["top1"] / both if both else 0)


@pytest.mark.parametrize("own", list(itertools.combinations(CLASSES, 2)))
def test_a_class_that_is_missing_counts_for_nothing(own, photo_folder):
    model = trained_on(photo_folder(CLASSES, name="photos"))
    found = defined(evaluate(model, photo_folder(own, images=6, name="fewer", size=(20, 20))))
    assert found["images"] == 12
    assert [row["name"] for row in found["per_class"] if row["images"]] == list(own)
    assert 0 <= found["macro_f1"] <= 1


def test_images_of_unknown_classes_are_left_out_and_named(photo_folder, capsys):
    model = trained_on(photo_folder(CLASSES, name="photos"))
    photos = photo_folder(CLASSES, images=6, name="more", size=(20, 20))
    alone = evaluate(model, photos)
    extra = add(photos, "dogs", 3) + add(photos, "ape", 2, seed=5)
    found = evaluate(model, photos)
    assert (found.images, found.top1, found.macro_f1) == (alone.images, alone.top1, alone.macro_f1)
    assert found.left_out["unknown_classes"] == tuple(sorted(extra))
    assert 'Left out: 5 images of 2 classes that the model does not know, "ape", "dogs".' in capsys.readouterr().err
    with pytest.raises(DataError, match=r'does not know the class "ape" of the data'):
        evaluate(model, photo_folder(("ape", "dogs"), name="strangers"))


@pytest.mark.parametrize(
    ("chosen", "says"), [("the best epoch: by a loss", True), ("the head alone: by a loss", False)]
)
def test_who_was_chosen_by_the_images_that_judge_it_says_so(trained, chosen, says):
    """`keep=best`: the first half of them has picked one of many epochs."""
    model = load_model(trained)
    model = dataclasses.replace(
        model, provenance=dataclasses.replace(model.provenance, other={**model.provenance.other, "chosen": chosen})
    )
    found = evaluate(model, "digits")
    assert any("chose this epoch" in sentence for sentence in found.document()["remarks"]) is says
