"""One picture explained and drawn: the frame, the nearest images, names that fight back, every kind of file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.architecture import ResNetSpec
from resnets.data import cache as cache_module
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ImageError
from resnets.explanation import neighbours
from resnets.explanation.picture import explain, frame, stage_maps
from resnets.inference import Classifier
from resnets.network import create
from resnets.pages import explanation as drawing
from resnets.weights import Model

SPEC = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=16)
PRE = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=16, order="pre")
CLASSES = ("cat", "dog", "eel")


def made(spec: ResNetSpec = SPEC, classes: tuple[str, ...] = CLASSES, **preprocessing: object) -> Classifier:
    wanted = Preprocessing.evaluation(**{"image_size": 16, **preprocessing})
    return Classifier(Model(create(spec, num_classes=len(classes), seed=0), classes, wanted))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (32, 32), (7, 90)])
@pytest.mark.parametrize("resize", ["shorter", "stretch"])
def test_the_frame_is_what_the_network_sees(size, resize):
    p = Preprocessing(image_size=16, resize_to=20, resize=resize)
    left, top, right, bottom = frame(p, *size)
    assert (left + right, top + bottom) == pytest.approx(size)
    picture = Image.new("RGB", size, "black")
    picture.paste("white", (max(round(left) - 1, 0), max(round(top) - 1, 0), round(right) + 1, round(bottom) + 1))
    assert p.pixels(picture)[1:-1, 1:-1].min() > 200
    inner = (round(left) + 2, round(top) + 2, round(right) - 2, round(bottom) - 2)
    if size != (7, 90):
        picture.paste("black", (0, 0, inner[0] + 1, size[1]))
        assert p.pixels(picture)[:, 0].max() < 200


def test_what_an_explanation_holds(photo_folder):
    photo = photo_folder(CLASSES, size=(24, 16)) / "dog" / "1.jpg"
    classifier = made()
    e = explain(classifier, photo)
    assert e.prediction == classifier.predict([photo])[0]
    assert (e.name, e.probability) == e.prediction.top[0]
    assert (e.size, e.frame) == ((24, 16), (4, 0, 20, 16))
    assert (e.photo.shape, e.pixels.shape, e.heat.shape) == ((16, 24, 3), (16, 16, 3), (16, 16))
    assert (e.maps, e.alike) == ({}, ())
    other = explain(classifier, photo, name=e.prediction.top[-1][0], method="integrated-gradients")
    assert (other.name, other.probability) == e.prediction.top[-1]
    assert other.document()["method"] == "integrated-gradients"


@pytest.mark.parametrize(("spec", "last"), [(SPEC, ["stage2"]), (PRE, ["stage2", "head"])])
def test_the_maps_of_the_stages_are_the_networks(spec, last):
    classifier, pixels = made(spec), np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    maps = stage_maps(classifier, pixels)
    assert list(maps) == ["stem", "stage1", *last]
    assert [m.shape for m in maps.values()] == [(16, 16, 16), (8, 16, 16), (16, 8, 8), (16, 8, 8)][: len(maps)]
    linear = classifier.network.head.linear
    with torch.no_grad():
        logits = linear(torch.from_numpy(maps[last[-1]]).mean(dim=(1, 2))[None])
    torch.testing.assert_close(logits, classifier.logits(pixels[None]), rtol=1e-4, atol=1e-5)


# neighbours -----------------------------------------------------------------------------------------------


def test_the_nearest_training_images_are_of_its_kind_and_the_picture_itself_is_named(photo_folder):
    photos = photo_folder(CLASSES, images=6, splits=["train", "val"])
    own = photos / "train" / "dog" / "3.jpg"
    found = explain(made(), own, data=str(photos)).alike
    assert len(found) == neighbours.COUNT
    assert (found[0].key, found[0].same) == ("train/dog/3.jpg", True)
    assert [one.same for one in found].count(True) == 1
    assert found[0].similarity == pytest.approx(1, abs=1e-5)
    values = [one.similarity for one in found]
    assert values == sorted(values, reverse=True)
    assert all(one.key.startswith("train/") for one in found)
    assert {one.label for one in found[:6]} == {"dog"}
    held_out = explain(made(), photos / "val" / "eel" / "0.jpg", data=str(photos)).alike
    assert not any(one.same for one in held_out)


def test_class_folders_alone_are_all_looked_at_and_broken_files_counted(photo_folder, capsys):
    photos = photo_folder(("oak", "elm"), images=2)
    (photos / "elm" / "2.jpg").write_bytes(b"broken")
    found = explain(made(), photos / "elm" / "0.jpg", data=str(photos)).alike
    assert sorted(one.key for one in found) == ["elm/0.jpg", "elm/1.jpg", "oak/0.jpg", "oak/1.jpg"]
    assert "1 files of the neighbours are no usable images" in capsys.readouterr().err


def test_a_second_time_the_network_looks_at_the_picture_alone(photo_folder, monkeypatch):
    for module in (cache_module, neighbours):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    photos = photo_folder(CLASSES, images=4)
    photo = photos / "cat" / "0.jpg"
    first = explain(made(), photo, data=str(photos)).alike
    looked: list[int] = []
    look = neighbours.directions
    monkeypatch.setattr(neighbours, "directions", lambda c, pixels: looked.append(len(pixels)) or look(c, pixels))
    second = explain(made(), photo, data=str(photos)).alike
    assert looked == [1]
    assert [(n.key, n.similarity) for n in second] == [(n.key, n.similarity) for n in first]
    explain(made(PRE), photo, data=str(photos))
    assert sorted(looked) == [1, 1, 12], "another network has other features"


# drawing --------------------------------------------------------------------------------------------------

HOSTILE = "$a_b$\n<b>\x1b[31m\udcff漢字" + "x" * 200


@pytest.mark.parametrize("ending", drawing.ENDINGS)
def test_names_that_fight_back_are_drawn(ending, tmp_path, photo_folder):
    classes = (HOSTILE, "$\\frac{1}$", "eel")
    source = photo_folder(CLASSES) / "cat" / "0.jpg"
    photo = tmp_path / "$x^$\n{.jpg"
    photo.write_bytes(source.read_bytes())
    out = tmp_path / f"out{ending}"
    e = explain(made(classes=classes), photo, name=HOSTILE, stages=True, data=str(tmp_path / "photos"))
    drawing.write(out, e)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending]
    assert out.read_bytes().startswith(start)
    assert not list(tmp_path.glob(".out*"))


def test_the_page_grows_with_what_is_asked_for(tmp_path, photo_folder):
    photos = photo_folder(CLASSES)
    heights = []
    for more in ({}, {"data": str(photos)}, {"data": str(photos), "stages": True}):
        e = explain(made(PRE), photos / "cat" / "0.jpg", **more)
        drawing.write(tmp_path / "out.png", e)
        with Image.open(tmp_path / "out.png") as drawn:
            heights.append(drawn.height)
            assert drawn.width == 1500
    assert heights == sorted(set(heights))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2)])
def test_pictures_of_any_shape_are_drawn(size, tmp_path):
    Image.new("L", size, 90).save(tmp_path / "odd.png")
    drawing.write(tmp_path / "out.png", explain(made(), tmp_path / "odd.png", stages=True))
    assert (tmp_path / "out.png").stat().st_size > 0


# mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "empty file"), (b"broken", "not an image"), (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"), (None, "no such file")],
)
def test_a_bad_picture_is_named(tmp_path, content, why):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=f"bad.jpg cannot be explained: .*{why}"):
        explain(made(), path)


def test_a_folder_or_a_pipe_is_no_picture(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    for path, why in ((tmp_path, "there is no such file"), (tmp_path / "pipe", "it is a pipe, not a file")):
        with pytest.raises(ImageError, match=why):
            explain(made(), path)


def test_a_class_that_the_model_does_not_know(photo_folder):
    photo = photo_folder(CLASSES) / "cat" / "0.jpg"
    with pytest.raises(DataError, match=r'does not know the class "catt"\. Did you mean "cat"'):
        explain(made(), photo, name="catt")
