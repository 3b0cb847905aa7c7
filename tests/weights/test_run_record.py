"""run.json: one form, read back to the letter, and a sentence for what it cannot be."""

from __future__ import annotations

import copy
import json

import pytest

from resnets.errors import ModelFileError, ResnetsError
from resnets.training import resume
from resnets.weights.run import Asked, RunRecord, TrainResult

RESULT = {
    "run": "runs/x",
    "model": "runs/x/model.safetensors",
    "report": None,
    "top1": 0.5,
    "seconds": 12,
    "images": 40,
    "epochs": 3,
    "skipped_files": [{"path": "a.jpg", "why": "it is empty"}],
    "baseline": 0.25,
    "better_than_guessing": True,
    "unrecognised": ["b"],
    "fallbacks": [{"step": 3, "back_to": 2}],
    "remarks": ['Every answer is "a".'],
    "top1_interval": [0.4, 0.6],
    "held_out_images": 96,
    "estimate": {"top1": 0.5, "interval": [0.35, 0.65], "images": 40, "how": "out of fold"},
    "chosen": {"kept": "the head alone", "losses": {"the head alone": 0.2}},
    "weights": {"name": "local:body", "sha256": "0f", "licence": "MIT", "source": None},
    "learnt": {"top1": 1.0, "interval": [0.9, 1.0], "images": 36, "how": "on images that it was trained on"},
    "next": {
        "says": "More photos.",
        "limit": "few_photos",
        "command": "resnets train photos",
        "gain": {"top1": 0.03, "interval": [0.01, 0.05]},
    },
}
RECORD = {
    "asked": {
        "data": "digits",
        "network": None,
        "weights": None,
        "seed": 3,
        "device": "auto",
        "strict": False,
        "minutes": 5.0,
    },
    "network": "resnet20",
    "classes": ["a", "b"],
    "dataset": {"name": "digits", "fingerprint": "0f", "split": {"origin": "seeded"}},
    "recipe": {"epochs": 3},
    "epochs": 3,
    "precision": "float32",
    "preprocessing": {"image_size": 16},
    "machine": {"cores": 2},
    "skipped_files": [{"path": "a.jpg", "why": "it is empty"}],
    "opening_seconds": 0.5,
    "decoding": [{"images": 40, "seconds": 0.1, "reused": False}],
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"result": RESULT},
        {"so_far": {**RESULT, "step": 4, "steps": 9}},
        {"processes": 2, "memory": {"recompute": True, "accumulate": 2}},
    ],
    ids=["begun", "finished", "so far", "cramped"],
)
def test_a_record_is_read_back_as_it_was_written(tmp_path, more):
    record = RunRecord.from_dict({**RECORD, **more})
    record.write(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == {**RECORD, **more}
    assert list(record.to_dict()) == [*RECORD, *more]
    assert RunRecord.read(tmp_path) == record


def test_a_result_so_far_gives_way_to_the_last():
    record = RunRecord.from_dict(RECORD)
    last = TrainResult.from_dict(RESULT)
    early = TrainResult.from_dict({**RESULT, "step": 4, "steps": 9})
    assert (record.with_result(early).so_far, record.with_result(early).result) == (early, None)
    assert record.with_result(early).with_result(last) == record.with_result(last)


def test_what_a_later_version_added_is_left_aside_and_what_an_earlier_did_not_know_is_not_missed():
    later = {**RECORD, "result": {**RESULT, "joules": 3}, "ranks": 4}
    assert RunRecord.from_dict(later) == RunRecord.from_dict({**RECORD, "result": RESULT})
    old = {key: value for key, value in RECORD.items() if key not in ("opening_seconds", "decoding")}
    report_less = {key: value for key, value in RESULT.items() if key != "report"}
    assert RunRecord.from_dict({**old, "result": report_less}).result.report is None


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("asked",), None, "asked in run.json is a table, not 'None'"),
        (("asked", "seed"), "x", "asked.seed in run.json is a whole number, not 'x'"),
        (("asked", "seed"), True, "asked.seed in run.json is a whole number, not 'True'"),
        (("asked", "seed"), -1, "The seed lies between 0 and"),
        (("asked", "data"), "", "The data has an empty name"),
        (("asked", "network"), 20, "asked.network in run.json is a text or a table or null, not '20'"),
        (("asked", "strict"), 1, "asked.strict in run.json is true or false, not '1'"),
        (("classes",), "ab", "classes in run.json is a list, not 'ab'"),
        (("dataset", "fingerprint"), None, "dataset.fingerprint in run.json is a text, not 'None'"),
        (("epochs",), 3.5, "epochs in run.json is a whole number, not '3.5'"),
        (("result",), [1], r"result in run.json is a table, not '\[1\]'"),
        (("result", "top1"), "high", "result.top1 in run.json is a number, not 'high'"),
    ],
    ids=str,
)
def test_a_bad_field_is_one_sentence(tmp_path, place, value, said):
    table = copy.deepcopy({**RECORD, "result": RESULT})
    part = table
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(table))
    with pytest.raises(ModelFileError, match=f"no run that can be resumed or finished: {said}") as caught:
        resume(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["asked", "network", "classes", "dataset", "recipe", "precision", "machine"])
def test_a_missing_field_is_named(key):
    with pytest.raises(ModelFileError, match=f"has no {key}: "):
        RunRecord.from_dict({name: value for name, value in RECORD.items() if name != key})


@pytest.mark.parametrize("wrong", [{"seed": 2**32}, {"seed": -1}, {"data": ""}])
def test_what_cannot_be_asked(wrong):
    with pytest.raises(ResnetsError):
        Asked(**{"data": "digits", **wrong})
