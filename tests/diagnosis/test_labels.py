"""Wrong labels: found where pictures are easy to tell apart, not made up where they are not."""

import re

import numpy as np
import pytest
import torch

from resnets import progress
from resnets.data.named import Digits
from resnets.data.open import open_source
from resnets.diagnosis import doubts, learned
from resnets.diagnosis import labels as labels_room
from resnets.diagnosis.descriptors import KINDS
from resnets.diagnosis.files import look_through
from resnets.diagnosis.labels import Checked, Suspect, check
from resnets.evaluation.noise import mistaken


@pytest.fixture(scope="module")
def digits():
    """(thumbs, labels) of a sixth of the digits."""
    source = Digits()
    looks = look_through(source, source.samples[::6])
    return looks.thumbs, [sample.label for sample in looks.samples]


def swapped(labels, every):
    """The labels with every so manieth swapped, and the right ones of these."""
    right = {i: labels[i] for i in range(0, len(labels), every)}
    return [str((int(label) + 3) % 10) if i in right else label for i, label in enumerate(labels)], right


def found_first(checked, right):
    """Asserts that most of what was swapped is suspected, for what it is, among few others."""
    first = checked.suspects[: 2 * len(right)]
    found = [one for one in first if one.index in right]
    assert len(found) >= 0.85 * len(right)
    assert sum(one.suggested == right[one.index] for one in found) >= 0.9 * len(found)
    assert all(0 <= one.own < one.other <= 1 for one in checked.suspects)


def test_swapped_labels_are_suspected_and_right_ones_are_not(digits):
    thumbs, labels = digits
    wrong, right = swapped(labels, 20)
    checked = check(thumbs, wrong)
    found_first(checked, right)
    assert checked.guessing == 0.1
    assert checked.accuracy > 0.8
    assert checked.found >= 0.8 * checked.planted  # what it promises, and keeps
    assert len(check(thumbs, labels).suspects) <= 0.02 * len(labels)


def test_a_large_set_is_looked_at_by_a_network(digits, monkeypatch):
    monkeypatch.setattr(labels_room, "FEW", 0)
    monkeypatch.setattr(learned, "STEPS", (60, 1000))
    monkeypatch.setattr(learned, "EPOCHS", 1)
    thumbs, labels = digits
    wrong, right = swapped(labels, 20)
    found_first(check(thumbs, wrong), right)


def test_it_says_the_same_again_and_leaves_the_process_as_it_was(digits):
    thumbs, labels = digits[0][:80], digits[1][:80]
    before = torch.get_rng_state(), torch.get_num_threads(), np.random.get_state()[1].tolist()
    assert check(thumbs, labels) == check(thumbs, labels)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), np.random.get_state()[1].tolist())


def test_tiny_sets_and_classes_are_not_judged(digits):
    thumbs, labels = digits
    assert check(thumbs[:40], labels[:40]) is None
    assert check(thumbs[:80], [str(i) for i in range(80)]) is None
    few = ["one" if i < 3 else label for i, label in enumerate(labels[:120])]
    assert not {0, 1, 2} & {one.index for one in check(thumbs[:120], few).suspects}


def test_its_steps_are_no_images(digits, monkeypatch, capsys):
    """No part of the work claims more images than there are, and each part has units of one kind."""
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    thumbs, labels = digits
    check(thumbs[:120], labels[:120])
    said = re.findall(r"looking at \w+: \d+/(\d+) (\w+)", capsys.readouterr().err)
    assert said
    assert all(int(total) <= 120 for total, unit in said if unit == "images")


def pictures(number):
    """Of nothing: no two classes of them can be told apart."""
    return np.random.default_rng(0).integers(0, 256, (number, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("look", [pictures, lambda number: 0 * pictures(number)], ids=["noise", "black"])
def test_where_classes_look_the_same_it_cannot_tell_and_says_so(look):
    thumbs = look(60)
    checked = check(thumbs, ["a", "b"] * 30)
    assert checked.suspects == ()
    assert not checked.able
    (finding,) = doubts.findings(checked, [])
    assert (finding.kind, finding.severity, finding.paths) == ("unclear-labels", "note", ())
    assert "guessing tells 50 %" in finding.text
    assert f"of {checked.planted} labels swapped on purpose" in finding.text


def test_a_small_class_is_not_suspected_for_being_small():
    """122 and 13: all 13 were suspected."""
    assert check(pictures(135), ["many"] * 122 + ["few"] * 13).suspects == ()


def test_neither_a_small_class_nor_a_large_one_draws_suspicion_from_answers_that_know_nothing():
    random = np.random.default_rng(0)
    target = np.repeat([0, 1], [122, 13])
    assert mistaken(random.normal(size=(135, 2)), target)[0].max() < 0.1
    assert mistaken(np.zeros((135, 2)), target)[0].max() < 0.1


@pytest.mark.parametrize("counts", [(150, 150), (270, 30), (100, 100, 100)])
def test_the_share_of_mistakes_is_told_from_a_weak_classifier(counts):
    """Answers that are often wrong, but never where they are sure, accuse nobody; one label in 20 at random shows."""
    random = np.random.default_rng(1)
    truth = np.repeat(range(len(counts)), counts)
    answers = random.normal(size=(len(truth), len(counts))) + 2.5 * np.eye(len(counts))[truth]
    assert (mistaken(answers, truth)[0] > labels_room.LIKELY).mean() <= 0.02
    wrong, where = truth.copy(), random.permutation(len(truth))[:15]
    wrong[where] = (truth[where] + 1) % len(counts)
    first = np.argsort(-mistaken(answers, wrong)[0])[:30]
    assert np.isin(where, first).mean() >= 0.5


def test_findings_carry_how_good_the_look_was():
    samples = Digits().samples[:2]
    suspect = Suspect(1, "seven", own=0.1, other=0.8)
    (finding,) = doubts.findings(Checked((suspect,), 0.8, 0.1, planted=40, found=30), samples)
    document = finding.document()
    assert (document["kind"], document["paths"]) == ("suspected-labels", [samples[1].key])
    assert (document["accuracy"], document["guessing"], document["planted"], document["found"]) == (0.8, 0.1, 40, 30)
    assert "found 30 of 40 labels swapped on purpose" in document["text"]
    assert doubts.findings(Checked((), 0.8, 0.1, planted=40, found=30), samples) == []
    assert doubts.findings(None, samples) == []


@pytest.mark.parametrize("describe", [kind for kind, _ in KINDS])
def test_a_mirror_changes_nothing(describe):
    """Descriptors know the mirror image without looking at it; textures but for a pixel at the edge of their parts."""
    light = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 1, 64)
    plain, mirrored = describe(light)
    assert (plain - mirrored).abs().max() > 0.05
    for one, other in zip((mirrored, plain), describe(light.flip(3)), strict=True):
        assert (one - other).abs().mean() <= 0.1 * (plain - mirrored).abs().mean()


def figures(benchmark, shared_data, seeds):
    sources = [open_source(shared_data / f"{name}.zip") for name in ("imagenette", "cifar10")]
    return benchmark.summary([benchmark.look_at_labels(sources, seed) for seed in seeds])


def test_a_dozen_small_sets_of_photos(benchmark, shared_data, monkeypatch):
    """Fewer than the benchmark's, and smaller."""
    monkeypatch.setattr(benchmark, "SIZES", (60, 160))
    found = figures(benchmark, shared_data, range(12))["all"]
    assert found["false_alarms"] <= 0.02
    assert found["sets"] == 12


@pytest.mark.slow
def test_two_hundred_small_sets_of_photos(benchmark, shared_data):
    found = figures(benchmark, shared_data, range(200))
    assert found["all"]["false_alarms"] <= 0.02
    assert found["300 images and more"]["speaks"] >= 0.8
    assert found["300 images and more"]["found"] >= 0.5


def test_of_a_set_that_is_too_large_a_part_is_looked_at_and_said(digits, monkeypatch):
    """As much of each class as its share, and the suspects keep their places among all."""
    thumbs, labels = digits
    monkeypatch.setattr(labels_room, "FEW", 200)
    monkeypatch.setattr(labels_room, "MOST", 200)
    monkeypatch.setattr(labels_room, "_check", lambda part, names, most: fake(part, names))
    seen = {}

    def fake(part, names):
        seen.update(pictures=len(part), classes=len(set(names)))
        return Checked((Suspect(199, "9", 0.1, 0.9),), 0.9, 0.1, 20, 20)

    checked = check(thumbs, labels)
    assert seen == {"pictures": 200, "classes": 10}
    (suspect,) = checked.suspects
    last = max(np.flatnonzero(np.asarray(labels) == labels[suspect.index]))
    assert suspect.index in (last, len(labels) - 1)
    assert f"200 of the {len(labels)} images were looked at" in doubts.facts(checked)["words"]
