"""Wrong labels among pictures that are easy to tell apart."""

import re

import numpy as np
import pytest

from resnets import progress
from resnets.data.named import Digits
from resnets.diagnosis import labels as labels_room
from resnets.diagnosis.files import look_through
from resnets.diagnosis.labels import suspects


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Digits are soon learned."""
    monkeypatch.setattr(labels_room, "STEPS", (80, 1000))
    monkeypatch.setattr(labels_room, "EPOCHS", 1)


@pytest.fixture(scope="module")
def digits():
    """(thumbs, labels) of a third of the digits."""
    source = Digits()
    looks = look_through(source, source.samples[::3])
    return looks.thumbs, [sample.label for sample in looks.samples]


def test_swapped_labels_are_the_first_to_be_suspected(digits):
    thumbs, labels = digits
    swapped = dict.fromkeys(range(0, len(labels), 30))
    for i in swapped:
        swapped[i] = labels[i]
    wrong = [str((int(label) + 3) % 10) if i in swapped else label for i, label in enumerate(labels)]
    found = suspects(thumbs, wrong, most=len(swapped))
    right = [one for one in found if one.index in swapped]
    assert len(right) >= 0.85 * len(swapped)
    assert sum(one.suggested == swapped[one.index] for one in right) >= 0.9 * len(right)
    assert all(0 <= one.own < one.other <= 1 for one in found)


def test_it_says_the_same_again(digits, monkeypatch):
    monkeypatch.setattr(labels_room, "STEPS", (8, 1000))  # whether they learn much is not asked here
    thumbs, labels = digits
    assert suspects(thumbs[:150], labels[:150]) == suspects(thumbs[:150], labels[:150])


def test_tiny_classes_are_not_judged(digits, monkeypatch):
    monkeypatch.setattr(labels_room, "STEPS", (20, 1000))
    thumbs, labels = digits
    alone = [str(i) for i in range(40)]
    assert suspects(thumbs[:40], alone) == []
    few = ["one" if i < 3 else label for i, label in enumerate(labels[:120])]
    assert not {0, 1, 2} & {one.index for one in suspects(thumbs[:120], few)}


def test_its_steps_are_no_images(digits, monkeypatch, capsys):
    """No part of the work claims more images than there are, and each part has units of one kind."""
    monkeypatch.setattr(labels_room, "STEPS", (20, 1000))
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    thumbs, labels = digits
    suspects(thumbs[:120], labels[:120])
    said = re.findall(r"looking at \w+: \d+/(\d+) (\w+)", capsys.readouterr().err)
    assert said
    assert all(int(total) <= 120 for total, unit in said if unit == "images")


def test_two_names_of_one_class_do_not_break_it():
    thumbs = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    suspects(thumbs, ["a", "b"] * 15)
    suspects(np.zeros_like(thumbs), ["a", "b"] * 15)
