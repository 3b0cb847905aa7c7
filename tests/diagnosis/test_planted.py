"""Faults planted in a copy of a real set, and how many of them the doctor finds: the same count as the benchmark's."""

import pytest

from resnets.diagnosis import doctor, learned


def found_share(found, what):
    return found[what][0] / found[what][1]


@pytest.mark.parametrize("steps", [80, pytest.param(learned.STEPS[0], marks=pytest.mark.slow)])
def test_what_is_planted_in_digits_is_found(benchmark, tmp_path, monkeypatch, steps):
    """With the doctor's own patience, and, as digits are soon learned, with less."""
    if steps != learned.STEPS[0]:
        monkeypatch.setattr(learned, "STEPS", (steps, learned.STEPS[1]))
        monkeypatch.setattr(learned, "EPOCHS", 1)
    planted = benchmark.plant("digits", tmp_path / "copy")
    found = benchmark.count(planted, doctor(tmp_path / "copy").document())
    assert found["broken"] == [50, 50]
    assert found["false_broken"] == []
    assert found_share(found, "exact") >= 0.99
    assert found_share(found, "near") >= 0.9
    # Digits of eight by eight pixels that two people wrote alike are no copies, but hardly to be told from them.
    assert len(found["unplanned"]) <= 0.005 * found["images"]
    assert found_share(found, "swapped") >= 0.9


@pytest.mark.slow
def test_what_is_planted_in_imagenette_is_found(benchmark, shared_data, tmp_path):
    planted = benchmark.plant(shared_data / "imagenette.zip", tmp_path / "copy")
    found = benchmark.count(planted, doctor(tmp_path / "copy").document())
    assert found["broken"] == [50, 50]
    assert found["false_broken"] == []
    assert found_share(found, "exact") >= 0.99
    assert found_share(found, "near") >= 0.9
    assert len(found["unplanned"]) <= 0.001 * found["images"]
    assert found_share(found, "swapped") >= 0.6
