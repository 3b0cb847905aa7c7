"""Two models on the same images: what chance can do is not called a difference."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from reports import judgement
from resnets.cli.main import main
from resnets.errors import DataError
from resnets.evaluation import significance
from resnets.evaluation.comparison import compare_judgements

CLASSES = ("ant", "bee", "cat")


def compare(*arguments):
    """What a program reads of a comparison."""
    return compare_judgements(*arguments).document()


def permuted(one, order):
    """The same answers of a model that has its classes in another order."""
    return dataclasses.replace(
        one,
        classes=tuple(one.classes[place] for place in order),
        logits=one.logits[:, order],
        labels=np.argsort(order)[one.labels],
    )


def rows(one, kept):
    taken = {name: getattr(one, name)[kept] for name in ("labels", "logits", "pixels", "temperatures")}
    return dataclasses.replace(one, samples=tuple(one.samples[row] for row in kept), **taken)


def test_a_model_and_itself_cannot_be_told_apart():
    one = judgement(CLASSES)
    result = compare(one, one)
    assert result["verdict"].startswith("These cannot be told apart")
    assert (result["difference"], result["p_value"], result["better"], result["same_answer"]) == (0, 1, None, 1)
    assert result["classes"] == []


def test_chance_is_not_called_a_difference():
    """Of pairs of equally good models, at most about one in twenty may be told apart."""
    told = [
        compare(judgement(CLASSES, 60, 0.7, seed), judgement(CLASSES, 60, 0.7, seed + 500))["better"] is not None
        for seed in range(100)
    ]
    assert sum(told) <= 10


@pytest.mark.parametrize("swapped", [False, True])
def test_the_better_one_is_found(swapped):
    pair = [judgement(CLASSES, 100, 0.9, 1), judgement(CLASSES, 100, 0.6, 2)]
    names = ["good", "bad"]
    if swapped:
        pair.reverse()
        names.reverse()
    result = compare(*pair, tuple(names))
    assert result["better"] == names.index("good")
    assert result["verdict"].startswith("good is better by ")
    sign = -1 if swapped else 1
    assert result["difference"] * sign == pytest.approx(0.3, abs=0.1)
    assert result["interval"][0] < result["difference"] < result["interval"][1]
    assert result["difference"] == pytest.approx(result["models"][0]["top1"] - result["models"][1]["top1"])
    assert result["p_value"] == binomtest(result["only_first"], result["only_first"] + result["only_second"]).pvalue
    assert result["only_first"] + result["only_second"] + result["both"] + result["neither"] == 300
    assert json.loads(json.dumps(result))


def test_classes_go_by_name_and_images_by_path():
    one, other = judgement(CLASSES, 50, 0.8, 1), judgement(CLASSES, 50, 0.7, 2)
    wanted = compare(one, other)
    shuffled = rows(other, np.random.default_rng(0).permutation(150))
    assert compare(one, permuted(shuffled, [2, 0, 1])) == {
        **wanted,
        "models": [wanted["models"][0], compare(one, permuted(other, [2, 0, 1]))["models"][1]],
    }


def test_images_that_only_one_judged_are_left_out():
    one, other = judgement(CLASSES, 50, 0.8, 1), judgement(CLASSES, 50, 0.7, 2)
    result = compare(rows(one, np.arange(0, 140)), rows(other, np.arange(10, 150)))
    assert (result["images"], result["left_out"]) == (130, 20)
    assert result["models"][0]["top1"] == one.correct[10:140].mean()
    with pytest.raises(DataError, match="no held-out image in common"):
        compare(rows(one, np.arange(5)), rows(other, np.arange(5, 9)))


def test_other_classes_are_refused_by_name():
    with pytest.raises(DataError, match=r'only one of them knows "cat", "dog"'):
        compare(judgement(CLASSES), judgement(("ant", "bee", "dog")))


def test_where_they_disagree_most():
    one = judgement(CLASSES, 40, 1.0)
    worse = dataclasses.replace(one, logits=one.logits.copy())
    worse.logits[40:70, 0] += 100  # thirty bees become ants
    first = compare(one, worse)["classes"][0]
    assert (first["name"], first["images"], first["only_first"], first["only_second"]) == ("bee", 40, 30, 0)
    assert first["p_value"] < 1e-6


def test_intervals_are_those_of_a_bootstrap():
    """Drawn from the distribution itself, they are what scipy finds by drawing images."""
    values = np.repeat([1, 0, -1], [40, 130, 20])
    drawn = bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0))
    assert significance.difference_interval(40, 20, 190) == pytest.approx(tuple(drawn.confidence_interval), abs=0.006)


def test_the_command_line(trained, capsys, tmp_path):
    page = tmp_path / "comparison.html"
    assert main(["evaluate", trained, trained, "digits", "--json", "--report", str(page)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"models", "images", "difference", "interval", "p_value", "verdict"} <= set(result)
    assert [model["name"] for model in result["models"]] == [trained, trained]
    assert result["models"][0]["top1"] == result["models"][1]["top1"] > 0.5
    assert "These cannot be told apart" in page.read_text()

    assert main(["evaluate", trained, trained, "digits"]) == 0
    assert "These cannot be told apart" in capsys.readouterr().out


def test_too_many_words(capsys):
    assert main(["evaluate", "a", "b", "c", "d"]) == 2
    assert "name a model or two, then the data" in capsys.readouterr().err
