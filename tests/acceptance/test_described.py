"""What a user says of somebody's weights: the classes' names and how pictures are prepared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets import convert, create, evaluate, load
from resnets.acceptance.described import prepared, with_names
from resnets.architecture import ResNetSpec
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnets.data.titles import wordnet
from resnets.errors import DataError, ParameterError
from resnets.weights import Model
from resnets.weights.convert import write

SMALL = ResNetSpec(depths=(1, 1), widths=(4, 8), stem_width=4)
OWN = Preprocessing.evaluation(224)
CAFFE = (104 / 255, 117 / 255, 123 / 255)


def model(classes=3):
    return Model(create(SMALL, num_classes=classes, seed=0).eval(), tuple(map(str, range(classes))), OWN)


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({}, {}),
        ({"mean": [104, 117, 123]}, {"mean": CAFFE, "std": (1 / 255,) * 3}),
        (
            {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
            {"mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        ),
        ({"mean": [0.5], "std": [0.25]}, {"mean": (0.5,) * 3, "std": (0.25,) * 3}),
        ({"mean": [127.5], "std": [127.5]}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ({"mean": [0, 0, 0], "std": [1]}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"std": [255]}, {"std": (1.0,) * 3}),
        ({"mean": 0, "std": 255}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"mean": 0.5, "std": 0.5}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ({"order": "BGR"}, {"channels": "BGR", "mean": IMAGENET_MEAN[::-1], "std": IMAGENET_STD[::-1]}),
        (
            {"order": "BGR", "mean": [104, 117, 123], "resize": "256x256", "crop": 224},
            {"channels": "BGR", "mean": CAFFE, "std": (1 / 255,) * 3, "resize": "stretch", "resize_to": 256},
        ),
        ({"resize": 232}, {"resize_to": 232}),
        ({"crop": 112}, {"image_size": 112, "resize_to": 128}),
        ({"crop": 64, "resize": "64"}, {"image_size": 64, "resize_to": 64}),
    ],
)
def test_pictures_are_prepared_as_it_is_said(said, fields):
    found, wanted = prepared(OWN, said), replace(OWN, **fields)
    assert found.geometry() == wanted.geometry()
    assert found.channels == wanted.channels
    assert np.allclose((found.mean, found.std), (wanted.mean, wanted.std), rtol=1e-12)


def test_a_mean_image_goes_with_the_order_and_not_beside_a_mean():
    image = np.arange(3 * 224 * 224, dtype=np.float32).reshape(3, 224, 224) / 1e6
    own = replace(OWN, mean_image=image)
    assert np.array_equal(prepared(own, {"order": "BGR"}).mean_image, image[::-1])
    assert prepared(own, {"mean": [0.5]}).mean_image is None
    assert prepared(own, {"crop": 112}).mean_image is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"mean": [1, 2]}, "one number or three"),
        ({"std": [float("nan")]}, "one number or three"),
        ({"std": [0.0]}, "std must be three numbers from"),
        ({"order": "GBR"}, "RGB or BGR"),
        ({"resize": "256x128"}, "256x256"),
        ({"resize": "-1"}, "256x256"),
        ({"resize": 100}, "give a smaller `crop`"),
        ({"crop": 0}, "`crop` is a number of pixels"),
        ({"crop": "224"}, "`crop` is a number of pixels"),
        ({"mean": "0.5"}, "one number or three"),
        ({"mean": ["a"]}, "one number or three"),
        ({"mean": 0.5, "std": 127.5}, "both in levels .* or both in shares"),
        ({"mean": 127.5, "std": 0.5}, "both in levels .* or both in shares"),
        ({"size": 224}, "by mean, std, resize, crop, order, not by 'size'"),
    ],
)
def test_nonsense_is_one_sentence(said, words):
    with pytest.raises(ParameterError, match=words):
        prepared(OWN, said)


NAMES = ("ant", "bee", "crane fly")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "ant\nbee\n\ncrane fly\n"),
        ("a.names", "\ufeffant\r\nbee\r\ncrane fly\r\n"),
        ("numbered.txt", "0 ant\n1: bee\n2\tcrane fly\n"),
        ("from_one.txt", "1,ant\n2,bee\n3,crane fly\n"),
        ("a.json", json.dumps(NAMES)),
        ("table.json", json.dumps({"2": "crane fly", "0": "ant", "1": "bee"})),
        ("back.json", json.dumps({"crane fly": 2, "ant": 0, "bee": 1})),
    ],
)
def test_names_come_from_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert with_names(model(), tmp_path / name).classes == NAMES


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("synset_words.txt", "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"),
        ("index.json", '{"0": ["n01440764", "tench"], "1": ["n02012849", "crane"], "2": ["n03126707", "crane"]}'),
    ],
)
def test_identifiers_stay_the_classes_and_words_their_titles(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = with_names(model(), tmp_path / name)
    assert found.classes == ("n01440764", "n02012849", "n03126707")
    assert found.titles == {"n01440764": "tench", "n02012849": "crane", "n03126707": "crane"}


def test_names_that_stand_twice_get_their_numbers(tmp_path):
    (tmp_path / "a.txt").write_text("crane\nbee\ncrane\n")
    assert with_names(model(), tmp_path / "a.txt").classes == ("crane (0)", "bee", "crane (2)")


def test_lists_that_ship():
    assert with_names(model(10), "cifar10").classes[3] == "cat"
    assert with_names(model(100), "cifar100").classes[97] == "wolf"
    named = with_names(model(1000), "imagenet")
    assert named.classes == tuple(wordnet())
    assert named.titles["n01440764"] == "tench"
    assert with_names(model(1001), "imagenet").classes[:2] == ("background", "n01440764")


def test_labelled_images_give_their_classes_in_order(photo_folder):
    folder = photo_folder({"dog": 2, "cat": 2, "ant": 2})
    assert with_names(model(), folder).classes == ("ant", "cat", "dog")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "ant\nbee\n", "has 2 names, and the network has 3 classes"),
        ("a.json", '{"0": "ant", "7": "bee"}', "do not go from 0 on"),
        ("a.json", '{"a": [1, 2, 3]}', "no list of names"),
        ("a.json", "[1, 2, 3]", "no list of names"),
        ("a.json", "[" * 100_000, "no list of names"),
        ("a.txt", "ant\x1b[31m\nbee\ncat\n", "cannot be printed"),
        ("a.txt", "caf\udce9\nb\nc\n", "no list of names"),
    ],
)
def test_a_list_of_no_use_is_one_sentence(tmp_path, name, text, words):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ParameterError, match=words):
        with_names(model(), tmp_path / name)


def test_no_such_list(tmp_path):
    for names in (tmp_path / "none.txt", "", "a" * 5000):
        with pytest.raises(ParameterError, match="There is no list of names"):
            with_names(model(), names)


def test_it_is_kept_in_the_model_file_and_said_in_the_certificate(tmp_path):
    write(model(), tmp_path / "theirs.pth", "torchvision")
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    said = {"mean": [104, 117, 123], "order": "BGR", "resize": "256x256"}
    found = convert(
        tmp_path / "theirs.pth",
        tmp_path / "own.safetensors",
        preprocessing=said,
        class_names=tmp_path / "names.txt",
        certificate=tmp_path / "proof.json",
    )
    assert found.proof["seen"] == {
        "preprocessing": "both sides to 256, centre 224, BGR of 0..1, mean 0.408/0.459/0.482, "
        "std 0.00392/0.00392/0.00392 (as it was given)"
    }
    own = load(tmp_path / "own.safetensors")
    assert own.classes == ("ant", "bee", "cat")
    picture = Image.new("RGB", (300, 100), (255, 0, 0))
    x = own.input(own.preprocessing.pixels(picture)[None])
    assert torch.allclose(x[0, :, 0, 0], torch.tensor([-104.0, -117.0, 255 - 123.0]), atol=1e-3)


def test_a_model_without_names_is_judged_in_the_order_that_the_user_confirms(tmp_path, photo_folder):
    folder = photo_folder({"dog": 2, "cat": 2, "ant": 2})
    write(model(), tmp_path / "theirs.pth", "torchvision")
    with pytest.raises(DataError, match=r"only numbers: .* in this order \(ant, cat, dog\)"):
        evaluate(tmp_path / "theirs.pth", folder)
    convert(tmp_path / "theirs.pth", tmp_path / "named.safetensors", class_names=folder, preprocessing={"crop": 32})
    assert evaluate(tmp_path / "named.safetensors", folder).images == len([*folder.rglob("*.jpg")])
