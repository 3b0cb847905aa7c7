"""Temperature, sets and looks: fitted on some images, true of others, and never judged on their own."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.errors import ModelFileError
from resnets.evaluation import evaluate
from resnets.evaluation.calibration import FEWEST, calibrate, digest, fit_temperature, fit_threshold, judges
from resnets.evaluation.metrics import ece, log_softmax
from resnets.inference import Classifier
from resnets.training import train
from resnets.weights import Calibration, Model, Provenance, save
from resnets.weights import load as load_model
from resnets.weights.calibration import Usual


def world(images, classes=5, sharpness=1.0, seed=0):
    """(logits, labels): the probabilities of softmax(logits / sharpness) are those with which the labels were drawn."""
    random = np.random.default_rng(seed)
    true = 2 * random.normal(size=(images, classes))
    labels = (log_softmax(true) + random.gumbel(size=true.shape)).argmax(axis=1)
    return sharpness * true, labels


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_the_temperature_is_that_of_the_world(sharpness):
    logits, labels = world(20_000, sharpness=sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("coverage", [0.85, 0.9, 0.95])
def test_sets_cover_what_they_state(coverage):
    found = []
    for seed in range(60):
        logits, labels = world(400, classes=12, seed=seed)
        probabilities = np.exp(log_softmax(logits))
        true = probabilities[np.arange(400), labels]
        found.append((true[200:] >= fit_threshold(true[:200], coverage)).mean())
    assert np.mean(found) == pytest.approx(coverage, abs=0.012)


def test_a_class_with_more_than_half_of_the_probability_is_never_left_out():
    assert fit_threshold(np.full(500, 0.99), 0.9) == 0.5


def test_few_images_cover_everything_rather_than_too_little():
    assert fit_threshold(np.array([0.2, 0.4, 0.9]), 0.9) == 0.0


def pixels_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)


def test_every_image_is_judged_by_what_was_fitted_without_it():
    pixels, (logits, labels) = pixels_of(300), world(300, sharpness=3.0)
    calibration = calibrate(pixels, logits, labels)
    assert tuple(sorted(digest(pixels))) == calibration.fitted_on
    new = pixels_of(20, seed=1)
    rows = judges(np.concatenate([pixels, new]), calibration)
    assert np.array_equal(sum(mask.astype(int) for mask, _ in rows), np.ones(320)), "each by exactly one"
    (unknown, whole), *halves = rows
    assert whole is calibration
    assert np.array_equal(np.flatnonzero(unknown), np.arange(300, 320))
    for (mask, fit), (other, _) in zip(halves, reversed(halves), strict=True):
        assert mask.sum() == 150
        mine = np.flatnonzero(other)
        assert fit.temperature == pytest.approx(fit_temperature(logits[mine], labels[mine]), rel=1e-6)
        kept = np.flatnonzero(mask)
        assert fit.temperature != pytest.approx(fit_temperature(logits[kept], labels[kept]), rel=1e-6)


def test_the_order_and_the_names_of_the_images_do_not_matter():
    pixels, (logits, labels) = pixels_of(200), world(200)
    order = np.random.default_rng(5).permutation(200)
    one, other = calibrate(pixels, logits, labels), calibrate(pixels[order], logits[order], labels[order])
    assert one.fitted_on == other.fitted_on
    assert one.temperature == pytest.approx(other.temperature)


def test_an_image_that_is_there_twice_is_not_judged_by_what_was_fitted_on_it():
    pixels, (logits, labels) = pixels_of(150), world(150)
    twice = np.concatenate([pixels, pixels])
    calibration = calibrate(twice, np.tile(logits, (2, 1)), np.tile(labels, 2))
    assert calibration.fitted_on == tuple(sorted(set(digest(pixels))))
    (_, _), *halves = judges(twice, calibration)
    for mask, _ in halves:
        assert np.array_equal(mask[:150], mask[150:])
    assert sum(mask.sum() for mask, _ in halves) == 300


def test_answers_that_are_all_right_are_no_proof_of_certainty():
    logits = np.tile([4.0, -4.0], (120, 1))
    temperature = fit_temperature(logits, np.zeros(120, int))
    assert np.exp(log_softmax(logits[:1] / temperature))[0, 0] == pytest.approx(121 / 122, abs=1e-3)


def test_the_rank_of_the_threshold_is_exact():
    true = np.linspace(0.001, 0.4, 109)
    assert fit_threshold(true, 0.9) == true[10], "the eleventh: 110 times a tenth, whatever a float makes of it"


def test_a_calibration_for_another_image_size_is_refused(trained):
    model = load_model(trained)
    wrong = replace(model.calibration, unlike=Usual((0.0,), ((1.0,),), 1.0))
    with pytest.raises(ModelFileError, match="not for its image size"):
        Classifier(replace(model, calibration=wrong))


@pytest.mark.parametrize(
    "provenance",
    [
        {"dataset": "abc"},
        {"dataset": {"split": None}},
        {"dataset": {"fingerprint": 3, "split": {"origin": "seeded"}}},
        {"dataset": {"split": {"origin": "seeded", "fraction": "x", "counts": {"a": "x"}}}},
        {"versions": [1], "recipe": "x", "network": {"a": 1}},
    ],
)
def test_a_provenance_may_hold_anything(trained, tmp_path, provenance):
    model = replace(load_model(trained), provenance=Provenance.from_dict(provenance))
    save(tmp_path / "m.safetensors", model)
    page = tmp_path / "r.html"
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "digits", "--report", str(page), "--json"]) == 0
    assert load_model(tmp_path / "m.safetensors").provenance.to_dict() == provenance
    assert page.stat().st_size > 10_000


def test_too_few_images_leave_a_model_as_it_is():
    pixels, (logits, labels) = pixels_of(FEWEST - 1), world(FEWEST - 1)
    assert calibrate(pixels, logits, labels) == Calibration()


# What knows nothing, or little ------------------------------------------------------------------------------


def doubts(calibration, logits):
    """(the share of answers that are called sure, which of them those are) of logits, by a calibration."""
    sets = np.exp(log_softmax(logits / calibration.temperature)) >= calibration.unsure
    sure = sets.sum(axis=1) == 1
    return sure.mean(), sure


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 60.0, 1e4, 1e12, 1e30])
def test_a_model_that_knows_nothing_is_never_sure(classes, scale):
    random = np.random.default_rng(classes)
    logits = (scale * random.normal(size=(153, classes))).astype(np.float32)
    labels = random.integers(0, classes, 153)
    calibration = calibrate(pixels_of(153), logits, labels)
    assert [fit.unsure for fit in (calibration, *calibration.halves)] == [0, 0, 0]
    assert doubts(calibration, logits)[0] == 0
    if scale < 1e6:  # and its probabilities say so, however large its logits are
        probabilities = np.exp(log_softmax(logits / calibration.temperature))
        assert ece(probabilities.max(axis=1), logits.argmax(axis=1) == labels) < 0.15


def test_what_names_the_commonest_class_alone_knows_nothing():
    labels = np.repeat([0, 1], [110, 30])
    logits = np.tile([9.0, -9.0], (140, 1))
    assert calibrate(pixels_of(140), logits, labels).unsure == 0


def test_guesses_about_some_classes_are_not_called_sure():
    """Half of the images are of a class that it knows; between the two others it guesses, as loudly."""
    random = np.random.default_rng(0)
    labels = random.choice(3, 1200, p=[0.5, 0.25, 0.25])
    said = np.where(labels == 0, 0, random.integers(1, 3, 1200))
    logits = 6 * np.eye(3)[said] + random.normal(size=(1200, 3))
    calibration = calibrate(pixels_of(600), logits[:600], labels[:600])
    share, sure = doubts(calibration, logits[600:])
    wrong = (logits[600:].argmax(axis=1) != labels[600:])[sure]
    assert share == 0 or wrong.mean() < 0.25


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4, 1e8])
def test_a_set_that_can_be_separated_has_a_temperature_of_its_scale(scale):
    labels = np.repeat([0, 1], 100)
    calibration = calibrate(pixels_of(200), scale * np.eye(2)[labels], labels)
    assert calibration.unsure == 0.5
    assert calibration.temperature == pytest.approx(scale * fit_temperature(np.eye(2)[labels], labels), rel=1e-3)
    assert doubts(calibration, scale * np.eye(2)[labels])[0] == 1


@pytest.mark.parametrize(("images", "unsure"), [(1, None), (4, None), (20, 0.0), (99, 0.0)])
def test_few_images_are_enough_to_see_that_nothing_is_known(images, unsure):
    """All answers wrong, of as many images; of four it cannot be told."""
    labels = np.arange(images) % 2
    calibration = calibrate(pixels_of(images), np.eye(2)[1 - labels], labels)
    assert calibration == Calibration(unsure=unsure)


@pytest.mark.parametrize("logits", [np.ones((120, 1)), np.ones((120, 3)), np.zeros((120, 3))])
def test_answers_that_are_all_the_same_give_numbers(logits):
    calibration = calibrate(pixels_of(120), logits, np.arange(120) % logits.shape[1])
    assert calibration.temperature == 1
    assert calibration.unsure == (0 if logits.shape[1] > 1 else 0.5)


def test_a_model_that_knows_nothing_says_so_in_every_verb(tmp_path, capsys):
    """Random weights, trained for no step worth the name, on digits."""
    spec = ResNetSpec(depths=(1,), widths=(4,), stem="cifar", stem_width=4)
    high = ["learning_rate=1e-6", "epochs=1", "min_steps=0", "ema=0", "batch_size=512"]
    result = train("digits", model=spec, overrides=high, out=tmp_path / "run")
    assert result.better_than_guessing is False
    assert "It calls every answer unsure." in result.remarks
    document = evaluate(tmp_path / "run", "digits").document()
    assert (document["unsure"], document["better_than_guessing"]) == (1.0, False)
    assert document["ece"] < 0.1
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "x.png"), "--json"]) == 0
    prediction = json.loads(capsys.readouterr().out)["predictions"][0]
    assert prediction["unsure"] is True
    assert len(prediction["among"]) == 10


# A trained model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judgement(trained):
    return evaluate(trained, "digits").judgement


def test_training_calibrates(judgement):
    assert len(judgement.calibration.fitted_on) == len(set(digest(judgement.pixels)))
    assert judgement.coverage == 0.9
    assert judgement.figures["ece"] <= 0.05
    assert judgement.figures["coverage"] >= 0.88
    assert judgement.figures["unlike"] <= 0.06


def test_the_figures_are_those_of_the_halves(judgement):
    own = np.zeros(len(judgement.labels), bool)
    for mask, fit in judges(judgement.pixels, judgement.calibration):
        if mask.any():
            assert (judgement.temperatures[mask] == fit.temperature).all()
            assert (judgement.thresholds[mask] == fit.unsure).all()
        own |= mask & (fit is not judgement.calibration)
    assert own.all(), "the held-out images of its own data"
    probabilities = judgement.probabilities
    right = judgement.logits.argmax(axis=1) == judgement.labels
    assert judgement.figures["ece"] == pytest.approx(ece(probabilities.max(axis=1), right))
    unfit = judgement.calibrated(Calibration())
    assert (unfit.sets, unfit.unlike, unfit.figures["coverage"]) == (None, None, None)


def test_prediction_says_the_same_as_evaluation_of_new_images(trained, judgement, photo_folder, capsys):
    """The doubts on the command line are those of the model file, for pictures it has never seen."""
    photos = photo_folder([str(n) for n in range(10)], images=2, size=(40, 40))
    found = evaluate(trained, photos).judgement
    assert main(["predict", str(trained), str(photos), "--json", "--top", "1"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    for row, sample in zip(rows, range(len(found.labels)), strict=True):
        among = [found.classes[i] for i in np.argsort(-found.logits[sample]) if found.sets[sample, i]]
        assert (row["among"], row["unsure"]) == (among, len(among) != 1)
        assert row["unlike"] is bool(found.unlike[sample])
    assert all(row["unlike"] for row in rows), "coloured squares are no digits"
    assert main(["predict", str(trained), str(photos)]) == 0
    assert "unlike all that the model knows" in capsys.readouterr().out


def test_a_calibration_survives_the_file(trained, tmp_path):
    model = load_model(trained)
    save(tmp_path / "again.safetensors", model)
    assert Classifier(load_model(tmp_path / "again.safetensors")).calibration == Classifier(model).calibration
    assert isinstance(model, Model)
