"""Answers beside guesses: said in figures and in words, in the verbs as in the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets
from reports import evaluation, judgement
from resnets.cli.main import main
from resnets.evaluation.guessing import against_guessing, better, remarks, worth
from resnets.evaluation.metrics import measure


def found(labels, predicted, classes=("ant", "bee", "cat")):
    labels, predicted = np.array(labels), np.array(predicted)
    logits = np.eye(len(classes))[predicted]
    return {**measure(logits, labels, classes), **against_guessing(labels, predicted, classes)}


def counts(images, right, classes=("ant", "bee", "cat")):
    """So many images of each class, so many of them right, the others called the next class."""
    labels = np.repeat(np.arange(len(images)), images)
    predicted = np.concatenate(
        [[c] * r + [(c + 1) % len(classes)] * (n - r) for c, (n, r) in enumerate(zip(images, right, strict=True))]
    )
    return found(labels, predicted.astype(int), classes)


def test_the_baseline_is_the_share_of_the_commonest_class():
    assert counts([5, 3, 2], [5, 3, 2])["baseline"] == 0.5
    assert counts([2, 6, 0], [2, 6, 0])["baseline"] == 0.75


@pytest.mark.parametrize(
    ("right", "images", "baseline", "is_better"),
    [
        (82, 153, 83 / 153, False),  # 53.59 % where guessing gives 54.25 %
        (59, 100, 0.5, True),  # p = 0.044
        (58, 100, 0.5, False),  # p = 0.067
        (0, 100, 0.5, False),
        (5, 5, 0.5, True),  # p = 1/32
        (4, 4, 0.5, None),  # p = 1/16, and better than all right there is nothing
        (0, 4, 0.5, None),
        (100, 100, 1.0, None),  # one class alone
        (1000, 1000, 0.99, True),
        (1, 1, 0.5, None),
    ],
)
def test_better_is_an_exact_test(right, images, baseline, is_better):
    assert better(right, images, baseline) is is_better


def test_classes_that_are_not_recognised_are_named():
    one = counts([90, 10, 0], [80, 0, 0])
    assert (one["top1"], one["unrecognised"]) == (0.8, ["bee"])  # a class without images is not among them
    assert worth(one) == 'It is no better than guessing: always answering "ant" would be right on 90.0 %.'
    words = remarks(one)
    assert words[0] == 'Not recognised, or less often than by chance: "bee" (0 of 10).'
    assert counts([90, 10, 50], [85, 9, 45])["unrecognised"] == []


def test_recognised_less_often_than_by_chance():
    """Every second answer is "bee", and only one in twenty images of bees gets it."""
    labels = np.repeat([0, 1], 100)
    predicted = np.concatenate([np.repeat([0, 1], [5, 95]), np.repeat([0, 1], [95, 5])])
    one = found(labels, predicted, ("ant", "bee"))
    assert one["unrecognised"] == ["ant", "bee"]
    assert remarks(one)[0].endswith('"ant" (5 of 100), "bee" (5 of 100).')


def test_one_answer_for_all():
    one = found([0, 1, 2] * 20, [1] * 60)
    assert (one["only_answer"], one["better_than_guessing"]) == ("bee", False)
    assert 'Every answer is "bee".' in remarks(one)
    assert found([0, 0], [0, 0], ("ant",))["only_answer"] is None  # there is no other


def test_a_good_model_gets_no_remark():
    good = counts([30, 30, 30], [28, 29, 30])
    assert remarks(good) == []
    assert worth(good) == "It is 63 points better than guessing (33.3 %)."


def test_many_classes_are_cut_short_and_names_made_fit():
    names = tuple(f"c{n}\x1b[31m" for n in range(30))
    one = found(np.arange(30), np.roll(np.arange(30), 1), names)
    said = remarks(one)[-1]
    assert said.endswith("and 20 more.")
    assert "\x1b" not in said


@pytest.mark.parametrize("images", [[1, 0, 0], [1, 1, 1], [5, 0, 0], [2, 3, 0]])
@pytest.mark.parametrize("right", [0, 1])
def test_few_images_give_no_nonsense(images, right):
    one = counts(images, [n * right for n in images])
    assert one["better_than_guessing"] is (None if one["baseline"] ** sum(images) >= 0.05 else bool(right))
    assert "nan" not in " ".join([worth(one), *remarks(one)])
    json.dumps(one, allow_nan=False)


def test_an_evaluation_says_it_too():
    document = evaluation(judgement(("ant", "bee", "cat"), 20, 0.2)).document()
    assert document["baseline"] == pytest.approx(1 / 3)
    assert document["better_than_guessing"] is False
    assert document["remarks"] == remarks(document)
    assert {"unrecognised", "only_answer"} <= document.keys()


def test_evaluate_says_it_in_the_terminal_and_in_json(trained, tmp_path, capsys):
    """Digits whose files lie in the wrong folders: what the model says is right, and counts as wrong."""
    random = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "wrong" / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    assert main(["evaluate", trained, str(tmp_path / "wrong"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["baseline"], document["better_than_guessing"]) == (0.1, False)
    assert document["unrecognised"]
    assert main(["evaluate", trained, str(tmp_path / "wrong")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for remark in document["remarks"]:
        assert " ".join(remark.split()) in out


def test_a_training_has_what_its_evaluation_has(trained):
    result = json.loads((Path(trained) / "run.json").read_text())["result"]
    document = resnets.evaluate(trained, "digits").document()
    for key in ("top1", "baseline", "better_than_guessing", "unrecognised"):
        assert result[key] == document[key]
    assert result["better_than_guessing"] is True
    assert resnets.load(trained).provenance.metrics["better_than_guessing"] is True


def test_a_model_that_knows_the_rare_class_is_no_guess_though_the_common_one_is_commoner():
    answers = counts([950, 50], [855, 45], ("often", "rare"))
    assert answers["better_than_guessing"] is False
    assert answers["tells_apart"] is True
    assert worth(answers) == (
        "It tells the classes apart: balanced accuracy is 90.0 %, where guessing gives 50.0 %. "
        'By top-1 it is no better than guessing: always answering "often" would be right on 95.0 %.'
    )


def test_answers_that_were_dealt_at_random_tell_nothing_apart():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [950, 50])
    told = [found(labels, (random.random(1000) < 0.1).astype(int), ("a", "b"))["tells_apart"] for _ in range(200)]
    assert sum(told) <= 20  # 5 in 100
    assert found(labels, np.zeros(1000, int), ("a", "b"))["tells_apart"] is False
