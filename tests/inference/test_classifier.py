from __future__ import annotations

import io
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data.preprocess import Preprocessing
from resnets.errors import ImageError, ModelFileError
from resnets.inference import Classifier, Outcome, Prediction, as_classifier, engines, load, novelty
from resnets.inference.prediction import document
from resnets.network import create
from resnets.weights import Calibration, Model, Provenance, save

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")
TINY = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)


def model(classes=CLASSES, **fields) -> Model:
    network = create(TINY, num_classes=len(classes), seed=0)
    with torch.no_grad():
        network.get_parameter("head.linear.weight").mul_(100)
    return Model(network, tuple(classes), Preprocessing.evaluation(16), **fields)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(model())


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """PNG files of noise, each with a colour of its own, in several sizes."""
    random = np.random.default_rng(1)
    paths = []
    for number in range(11):
        pixels = random.integers(0, 256, (16 + 3 * (number % 4), 20, 3)) * random.random(3)
        paths.append(tmp_path / f"{number:02d}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def test_a_picture_means_the_same_in_every_form(classifier, pictures):
    path = pictures[0]
    image = Image.open(path)
    forms = [path, str(path), path.read_bytes(), image, np.asarray(image), image.convert("RGBA")]
    results = classifier.predict(forms)
    assert len(results) == len(forms)
    for form, result in zip(forms, results, strict=True):
        assert [name for name, _ in result.top] == [name for name, _ in results[0].top]
        assert [p for _, p in result.top] == pytest.approx([p for _, p in results[0].top], abs=1e-6)
        assert classifier.predict(form) == classifier.predict([form]), "a single one needs no list"
    grey = np.asarray(image.convert("L"))
    assert classifier.predict(grey) == classifier.predict(np.stack([grey] * 3, axis=-1))
    assert len(classifier.predict(np.stack([np.asarray(image)] * 2))) == 2, "a stack is two pictures"


def test_a_turned_photo_means_the_same_as_file_and_as_picture(classifier, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 30, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(pixels, -1)
    as_file, as_picture, as_array = classifier.predict(
        [tmp_path / "turned.png", Image.open(tmp_path / "turned.png"), upright]
    )
    assert as_file == as_picture == as_array


def test_probabilities_are_the_softmax_of_calibrated_logits(pictures):
    calibrated = Classifier(model(calibration=Calibration(2.5)))
    pixels = np.stack([calibrated.preprocessing.read(path.read_bytes()) for path in pictures])
    wanted = torch.softmax(calibrated.logits(pixels) / 2.5, dim=1)
    for row, prediction in zip(wanted, calibrated.predict(pictures, top=6), strict=True):
        assert dict(prediction.top) == pytest.approx(dict(zip(CLASSES, row.tolist(), strict=True)), abs=1e-6)
        values = [p for _, p in prediction.top]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1)


def test_a_model_that_was_never_calibrated_has_no_doubts(classifier, pictures):
    (prediction, *_) = classifier.predict(pictures)
    assert (prediction.among, prediction.unsure, prediction.unlike) == (None, None, None)


def test_a_calibrated_model_says_when_it_is_unsure(pictures):
    everything = Classifier(model()).predict(pictures, top=6)
    for rank, count in ((0, 1), (1, 2), (5, 6)):
        for picture, prediction in zip(pictures, everything, strict=True):
            least = prediction.top[rank][1] * (1 - 1e-6)
            doubtful = Classifier(model(calibration=Calibration(unsure=least)))
            (found,) = doubtful.predict(picture, top=2)
            assert found.among == tuple(name for name, _ in prediction.top[:count])
            assert found.unsure is (count != 1)
    (found,) = Classifier(model(calibration=Calibration(unsure=1.0))).predict(pictures[0])
    assert (found.among, found.unsure) == ((), True)


def test_a_calibrated_model_says_what_is_unlike_all_that_it_knows(pictures):
    random = np.random.default_rng(0)
    grey = random.integers(100, 120, (40, 16, 16, 1)).repeat(3, axis=3).astype(np.uint8)
    knows_grey = Classifier(model(calibration=Calibration(unlike=novelty.fit(grey))))
    red = np.zeros((16, 16, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
    assert [prediction.unlike for prediction in knows_grey.predict([grey[0], red])] == [False, True]


def test_top_is_clipped_to_the_classes(classifier, pictures):
    assert [len(classifier.predict(pictures[0], top=top)[0].top) for top in (1, 5, 6, 99)] == [1, 5, 6, 6]
    with pytest.raises(ValueError, match="at least 1"):
        classifier.predict(pictures, top=0)
    with pytest.raises(ValueError, match="at least 1"):
        classifier.predict(pictures, batch_size=0)


def test_equal_logits_name_the_first_class():
    even = model()
    with torch.no_grad():
        for parameter in even.network.head.parameters():
            parameter.zero_()
    (prediction,) = Classifier(even).predict(np.zeros((16, 16, 3), np.uint8), top=3)
    assert [name for name, _ in prediction.top] == ["ant", "bee", "cat"]
    assert prediction.top[0][1] == pytest.approx(1 / 6)


@pytest.mark.parametrize("batch_size", [1, 3, 11, 50])
def test_the_batch_size_changes_nothing(classifier, pictures, batch_size):
    alone = [classifier.predict(path)[0] for path in pictures]
    together = classifier.predict(pictures, batch_size=batch_size)
    for one, other in zip(alone, together, strict=True):
        assert [name for name, _ in one.top] == [name for name, _ in other.top]
        assert [p for _, p in one.top] == pytest.approx([p for _, p in other.top], abs=1e-6)


def test_no_pictures_no_predictions(classifier):
    assert classifier.predict([]) == []


def test_bad_pictures_stop_nothing_and_keep_their_place(classifier, pictures, tmp_path):
    text, empty, missing = tmp_path / "text.jpg", tmp_path / "empty.jpg", tmp_path / "missing.jpg"
    text.write_text("hello")
    empty.touch()
    cut = pictures[5].read_bytes()[:200]
    items = [text, *pictures[:4], missing, cut, pictures[4], tmp_path, empty, np.zeros((4, 4, 4)), None]
    results = list(classifier.predict_each(items, batch_size=3))
    assert [item is got for item, (got, _) in zip(items, results, strict=True)] == [True] * len(items)
    bad = {number: str(result) for number, (_, result) in enumerate(results) if isinstance(result, ImageError)}
    assert sorted(bad) == [0, 5, 6, 8, 9, 10, 11]
    assert "not an image" in bad[0]
    assert "No such file" in bad[5]
    assert "truncated" in bad[6]
    assert "Is a directory" in bad[8]
    assert "empty" in bad[9]
    assert "uint8" in bad[10]
    assert "NoneType" in bad[11]
    good = [result for _, result in results if isinstance(result, Prediction)]
    for one, other in zip(good, classifier.predict(pictures[:5]), strict=True):
        assert one.top[0][0] == other.top[0][0]


def test_predict_names_the_first_bad_picture(classifier, pictures, tmp_path):
    (tmp_path / "bad.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"bad\.jpg: not an image"):
        classifier.predict([pictures[0], tmp_path / "bad.jpg", pictures[1]])
    with pytest.raises(ImageError, match="image 1: empty file"):
        classifier.predict([pictures[0], b""])


def test_pictures_are_taken_as_they_are_needed(classifier, pictures):
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield pictures[0]

    results = classifier.predict_each(endless(), batch_size=4)
    for seen in range(1, 30):
        next(results)
        assert len(taken) <= seen + 3 * 4, "what waits in memory is bounded"
    threads = threading.active_count()
    results.close()
    assert threading.active_count() < threads, "an abandoned generator leaves no threads"


def test_the_network_is_ready_and_float32_whatever_the_caller_does(pictures):
    ready = model()
    ready.network.train()
    classifier = Classifier(ready)
    assert not classifier.network.training
    assert classifier.network.get_parameter("stage1.unit1.conv1.weight").is_contiguous(
        memory_format=torch.channels_last
    )
    pixels = np.stack([classifier.preprocessing.read(path.read_bytes()) for path in pictures])
    pixels.flags.writeable = False
    logits = classifier.logits(pixels)
    assert (logits.dtype, tuple(logits.shape)) == (torch.float32, (11, 6))
    assert not logits.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(classifier.logits(pixels), logits)
    assert classifier.logits(pixels[:0]).shape == (0, 6)


def test_a_network_for_other_channels_is_refused():
    network = create(TINY, num_classes=2, in_channels=4)
    with pytest.raises(ModelFileError, match="takes 4 channels and a picture has 3"):
        Classifier(Model(network, ("a", "b"), Preprocessing.evaluation(16)))


def test_load_takes_a_file_and_a_run_folder(classifier, pictures, tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    save(run / "model.safetensors", model(provenance=Provenance(seed=5)))
    for what in (run, str(run), run / "model.safetensors"):
        loaded = resnets.load(what)
        assert loaded.classes == CLASSES
        assert loaded.provenance == Provenance(seed=5)
        assert loaded.preprocessing == classifier.preprocessing
        assert loaded.predict(pictures) == classifier.predict(pictures)


def test_load_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match=r"^There is no model file nothing\.safetensors\."):
        load("nothing.safetensors")
    with pytest.raises(ModelFileError, match=r"has no model\.safetensors in it: name the folder of a finished run"):
        load(tmp_path)
    with pytest.raises(ModelFileError, match="resnet50 is a network without weights: train it"):
        load("resnet50")
    (tmp_path / "resnet50").write_bytes(b"")
    with pytest.raises(ModelFileError, match="resnet50 is empty"):
        load("resnet50")


def test_bytes_from_a_stream(classifier, pictures):
    with io.BytesIO(pictures[3].read_bytes()) as stream:
        assert classifier.predict(stream.read()) == classifier.predict(pictures[3])


def test_changed_weights_change_the_answer():
    classifier = Classifier(Model(create(TINY, num_classes=3, seed=0), ("a", "b", "c"), Preprocessing.evaluation(16)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    before, digest = classifier.logits(pixels), classifier.digest
    with torch.no_grad():
        classifier.network.get_parameter("head.linear.bias").add_(1)
    torch.testing.assert_close(classifier.logits(pixels), before + 1)
    assert classifier.digest != digest


def test_a_classifier_made_in_inference_mode_answers():
    with torch.inference_mode():
        classifier = Classifier(
            Model(create(TINY, num_classes=3, seed=0), ("a", "b", "c"), Preprocessing.evaluation(16))
        )
        assert classifier.logits(np.zeros((1, 16, 16, 3), np.uint8)).shape == (1, 3)


# What it is made of, and what it can do beside predicting -----------------------------------------------------


def test_it_holds_a_model_and_nothing_of_it_can_be_changed(classifier):
    held = classifier.model
    for name in ("network", "classes", "preprocessing", "calibration", "provenance"):
        assert getattr(classifier, name) is getattr(held, name)
        with pytest.raises(AttributeError):
            setattr(classifier, name, None)
    with pytest.raises(AttributeError):
        classifier.model = held


def test_it_says_what_it_is(classifier):
    assert repr(classifier) == f"Classifier(custom, {len(CLASSES)} classes, 16 x 16 pixels, torch, float32)"
    classifier.use(engines.make("torch", classifier.network, "bfloat16", image_size=16))
    assert repr(classifier).endswith("torch, bfloat16)")
    classifier.use(None)


def test_what_is_meant_is_found(classifier, tmp_path):
    assert as_classifier(classifier) is classifier
    assert as_classifier(classifier.model).model is classifier.model
    classifier.save(tmp_path / "model.safetensors")
    for place in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        assert as_classifier(place).digest == classifier.digest
    with pytest.raises(ModelFileError):
        as_classifier(tmp_path / "none")


@pytest.mark.parametrize("form", ["classifier", "model", "file"])
def test_every_form_of_a_model_is_saved_the_same(classifier, tmp_path, form):
    classifier.save(tmp_path / "first.safetensors")
    forms = {"classifier": classifier, "model": classifier.model, "file": tmp_path / "first.safetensors"}
    resnets.save(forms[form], tmp_path / "second.safetensors")
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_features_are_what_the_head_reads(classifier, pictures):
    found = classifier.embed(pictures, batch_size=3)
    width = classifier.network.plan.spec.widths[-1] * (4 if classifier.network.plan.spec.block == "bottleneck" else 1)
    assert (found.shape, found.dtype) == ((len(pictures), width), np.float32)
    pixels = np.stack([classifier.preprocessing.read(path.read_bytes()) for path in pictures])
    with torch.no_grad():
        linear = classifier.network.head.linear
        logits = torch.from_numpy(found) @ linear.weight.T + linear.bias
        torch.testing.assert_close(logits, classifier.logits(pixels), rtol=1e-4, atol=1e-4)
    assert classifier.embed(pictures[0]).shape == (1, width)
    assert classifier.embed([]).shape == (0, width)


def test_features_of_a_bad_picture(classifier, pictures, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"bad\.jpg: not an image"):
        classifier.embed([pictures[0], tmp_path / "bad.jpg"])


def test_its_methods_are_the_public_functions(trained, tmp_path):
    """Judging and exporting stand above inference: the public surface says where."""
    classifier = resnets.load(trained)
    judged = classifier.evaluate("digits", split="val")
    again = resnets.evaluate(trained, "digits", split="val")
    differ = {"seconds": 0, "next": None}  # what to type next names a file, and a classifier has none
    assert {**judged.document(), **differ} == {**again.document(), **differ}
    assert judged.top1 == resnets.evaluate(classifier.model, "digits").top1 > 0.5
    written = classifier.export(tmp_path / "one.pt2")
    assert written.written
    assert (tmp_path / "one.pt2").is_file()
    assert resnets.export(trained, tmp_path / "two.pt2", raw=True).document()["out"] == str(tmp_path / "two.pt2")


def test_a_document_of_outcomes():
    good = Outcome("a.jpg", (("cat", 0.75),), "", ("cat",), False)
    bad = Outcome("b.jpg", (), "empty file")
    assert document([bad, good], {}) == {
        "predictions": [
            {
                "path": "a.jpg",
                "top": [{"name": "cat", "probability": 0.75}],
                "unsure": False,
                "among": ("cat",),
                "unlike": False,
            }
        ],
        "failed": [{"path": "b.jpg", "why": "empty file"}],
    }


def test_predictions_know_what_the_pictures_are_called(classifier, tmp_path, capsys):
    """Python's result is the document that the command prints."""
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    found = resnets.predict(classifier, [path, np.zeros((8, 8, 3), np.uint8)], top=2)
    assert found == list(found)
    assert found.paths == (str(path), "image 1")
    first, second = found.document()["predictions"]
    assert (first["path"], second["path"], first["top"]) == (str(path), "image 1", second["top"])
    classifier.save(tmp_path / "m.safetensors")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(path), "--top", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == found.document().keys()
    assert printed["predictions"][0].keys() == first.keys()
    assert pickle.loads(pickle.dumps(found)).document() == found.document()


def test_a_model_with_titles_has_one_document(pictures, tmp_path, capsys):
    titled = Classifier(model(titles={"ant": "an ant", "bee": "a bee"}))
    titled.save(tmp_path / "m.safetensors")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(pictures[0]), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["titles"] == {"ant": "an ant", "bee": "a bee"}
    assert json.loads(json.dumps(titled.predict(pictures[:1]).document())).keys() == printed.keys()


def test_large_images_go_through_in_parts(classifier, pictures, monkeypatch):
    """Evaluation, calibration and export hand over 64 at once, whatever each takes."""
    pixels = np.stack([classifier.preprocessing.pixels(Image.open(path)) for path in pictures])
    whole, seen = classifier.logits(pixels), []
    session = classifier.session
    monkeypatch.setattr("resnets.inference.classifier.MOST_BYTES", 3 * classifier.model.bytes_to_run)
    parted = Classifier(classifier.model)
    parted.use(Spy(session, seen))
    torch.testing.assert_close(parted.logits(pixels), whole)
    assert seen == [3, 3, 3, 2]
    assert len(parted.logits(pixels[:0])) == 0
    np.testing.assert_allclose(parted.pooled(pixels), classifier.pooled(pixels), rtol=1e-5, atol=1e-6)


class Spy:
    """An engine that writes down how many images it is given."""

    precision, quantisation, name = "float32", None, "spy"

    def __init__(self, engine, seen):
        self.engine, self.seen = engine, seen

    def __call__(self, x):
        self.seen.append(len(x))
        return self.engine(x)


def test_pixels_of_an_rgb_photo_are_upright_and_on_white(tmp_path):
    """As of a grey one, and as `read` gives them."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 30, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    prepare = Preprocessing.evaluation(16)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "clear.png", transparency=tuple(pixels[5, 5].tolist()))
    for name in ("turned.png", "clear.png"):
        path = tmp_path / name
        with Image.open(path) as image:
            np.testing.assert_array_equal(prepare.pixels(image), prepare.read(path.read_bytes()), err_msg=name)


@pytest.mark.parametrize("name", ["b\0.jpg", "\ud800.jpg"])
def test_a_name_that_no_file_can_have_stops_nothing(classifier, pictures, name):
    found = list(classifier.predict_each([pictures[0], name, pictures[1]]))
    assert [type(result) for _, result in found] == [Prediction, ImageError, Prediction]
    assert str(found[1][1]) == "no file can be called so"


def test_the_same_open_picture_many_times_is_one_picture(classifier, tmp_path):
    """Threads prepare pictures, and Pillow loads one of them once."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "big.jpg")
    wanted = classifier.predict(tmp_path / "big.jpg")[0]
    for _ in range(5):
        image = Image.open(tmp_path / "big.jpg")
        for prediction in classifier.predict([image] * 16):
            assert [p for _, p in prediction.top] == pytest.approx([p for _, p in wanted.top], abs=1e-6)


def test_features_are_float32_under_an_open_autocast(classifier, pictures):
    wanted = classifier.embed(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier.embed(pictures)
    np.testing.assert_array_equal(found, wanted)
