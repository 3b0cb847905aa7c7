"""What limits a model, of judgements and courses that are made up: unequal classes, images of another kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from resnets.data.reading import Reading
from resnets.data.sample import Sample
from resnets.evaluation.calibration import calibrate
from resnets.evaluation.course import Course
from resnets.evaluation.evaluation import Evaluation
from resnets.evaluation.held_out import HELD_OUT, TRAINED_ON, Chosen
from resnets.evaluation.judging import Judgement
from resnets.evaluation.whatnext import what_next
from resnets.weights import Calibration
from resnets.weights.result import TrainResult
from resnets.weights.run import Asked, RunRecord

OK, DEFECT = 0, 1


def judgement(*counts: tuple[int, int, int]) -> Judgement:
    """Of (true class, answer, images), answers sure and far apart."""
    labels = np.concatenate([np.full(n, label) for label, _, n in counts]).astype(np.int64)
    said = np.concatenate([np.full(n, answer) for _, answer, n in counts])
    classes = tuple(f"class{i}" for i in range(max(labels.max(), said.max()) + 1))
    logits = np.random.default_rng(0).normal(0, 0.1, (len(labels), len(classes))).astype(np.float32)
    logits[np.arange(len(labels)), said] += np.where(said == labels, 3, 0.6)  # of mistakes it is not sure
    samples = tuple(Sample(f"{classes[label]}/{i}.png", classes[label], "val", 1) for i, label in enumerate(labels))
    pixels = np.arange(len(labels) * 3 * 64, dtype=np.uint32).astype(np.uint8).reshape(-1, 8, 8, 3).copy()
    pixels[:, 0, 0] = np.stack([np.arange(len(labels)) % 256, np.arange(len(labels)) // 256, labels], 1)
    one = np.ones(len(labels))
    return Judgement(classes, samples, pixels, labels, logits, Calibration(), one, None, None)


def course(one: Judgement, loss: float, learnt: tuple[float, int], top1=None, recipe=None) -> Course:
    asked = Asked(data="photos", network="resnet18", weights=None, seed=0, device="cpu", strict=False)
    record = RunRecord(
        asked=asked, network="resnet18", classes=one.classes, dataset={"split": {"origin": "seeded"}},
        epochs=10, precision="float32",
        preprocessing={"image_size": 32}, machine={},
        recipe={"label_smoothing": 0.1, "ema": 0.998, "batch_size": 64, **(recipe or {})},
    )  # fmt: skip
    share, images = learnt
    reach = 2 * (share * (1 - share) / images) ** 0.5
    interval = (share - reach, min(share + reach, 1.0))
    figures = one.figures
    result = TrainResult(
        run="runs/x", model="runs/x/model.safetensors", report=None, top1=top1 or figures["top1"], seconds=1.0,
        images=760, epochs=10, top1_interval=figures["top1_interval"] if top1 is None else (top1 - 0.02, top1 + 0.02),
        learnt={"top1": share, "interval": interval, "images": images, "how": ""},
    )  # fmt: skip
    return Course(record=record, run=Path("runs/x"), result=result, losses=(0.6, loss), held_out=())


@pytest.mark.parametrize(
    "counts",
    [
        [(OK, OK, 36), (DEFECT, DEFECT, 3), (DEFECT, OK, 1)],
        [(OK, OK, 855), (OK, DEFECT, 95), (DEFECT, DEFECT, 45), (DEFECT, OK, 5)],
    ],
)
def test_a_model_that_tells_rare_classes_apart_is_not_unsure_of_everything(counts):
    """That it is not shown to be better than the commonest class does not show that it guesses."""
    one = judgement(*counts)
    assert one.figures["better_than_guessing"] is False
    assert calibrate(one.pixels, one.logits, one.labels).unsure != 0.0


def test_who_names_one_class_alone_still_guesses():
    one = judgement((OK, OK, 190), (DEFECT, OK, 10))
    assert calibrate(one.pixels, one.logits, one.labels).unsure == 0.0


def test_the_commonest_class_alone_is_called_that():
    """Its loss is that of the classes' shares: no norms are to blame."""
    one = judgement((OK, OK, 190), (DEFECT, OK, 10))
    found = what_next(one, course(one, 0.314, (0.95, 200)), "photos", "runs/x", own=True)
    assert (found.limit, "the commonest class alone" in found.says) == ("guessing", True)
    assert "--set sampler=balanced" in found.command
    found = what_next(one, course(one, 0.69, (0.95, 200), recipe={"sampler": "balanced"}), "photos", "runs/x", own=True)
    assert found.command.startswith("resnets doctor")


def test_a_good_model_of_unequal_classes_has_no_sick_norms():
    one = judgement((OK, OK, 930), (DEFECT, DEFECT, 45), (OK, DEFECT, 10), (DEFECT, OK, 15))
    assert what_next(one, course(one, 0.23, (0.97, 200)), "photos", "runs/x", own=True).limit != "norms"


def test_images_of_another_kind_are_not_blamed_on_the_training():
    one = judgement((0, 0, 30), (0, 1, 20), (1, 1, 25), (1, 0, 25))
    found = what_next(one, course(one, 0.25, (0.96, 200), top1=0.94), "others", "runs/x", Reading(depth=2))
    assert found.limit == "other_images"
    assert "right on 94 % of what it held out" in found.says
    assert found.command == "resnets doctor others --set depth=2"


def test_classes_that_are_missed_stand_out():
    counts = [(label, label, 40) for label in range(20)] + [
        (label, (label + 7 * label) % 20, 4) for label in range(20, 25)
    ]
    one = judgement(*counts)
    assert one.figures["top1_interval"][0] > 0.8
    found = what_next(one, course(one, 0.6, (0.98, 200)), "photos", "runs/x")
    assert found.limit == "unrecognised"
    assert "It does not recognise class20" in found.says


def test_no_better_than_the_commonest_class_is_not_to_be_used():
    one = judgement((OK, OK, 855), (OK, DEFECT, 95), (DEFECT, DEFECT, 45), (DEFECT, OK, 5))
    found = what_next(one, None, "photos", "m.safetensors")
    assert "It tells the classes apart" in found.says
    assert "use it" not in found.says


def test_a_model_that_finds_both_rare_defects_is_not_asked_for_photos_of_every_class():
    one = judgement((OK, OK, 198), (DEFECT, DEFECT, 2))
    assert one.figures["better_than_guessing"] is None
    found = what_next(one, None, "photos", "m.safetensors")
    assert "It tells the classes apart" in found.says
    assert "Add photos of every class" not in found.says


def test_images_of_the_training_do_not_tell_what_to_do():
    one = judgement((0, 0, 30), (1, 1, 30))
    roles = {sample.key: TRAINED_ON if i < 10 else HELD_OUT for i, sample in enumerate(one.samples)}
    chosen = Chosen("val", one.samples, roles=roles)
    found = Evaluation.of(one, chosen, (), 0.0)
    assert found.followed("m.safetensors", "photos").next is None
    plain = dataclasses.replace(found, judged=None)
    assert plain.followed("m.safetensors", "photos").next is not None


def test_the_shares_of_other_images_say_nothing_of_the_training():
    """Two of ten classes, and it does well: its loss was that of one who knows ten."""
    one = judgement(*((label, label, 200 if label < 2 else 1) for label in range(10)))
    found = what_next(one, course(one, 0.95, (0.97, 200)), "others", "runs/x")
    assert found.limit != "not_converged"
    assert "hardly learnt" not in found.says


def test_who_names_a_rare_class_alone_does_not_name_the_commonest():
    one = judgement((OK, DEFECT, 190), (DEFECT, DEFECT, 10))
    found = what_next(one, course(one, 0.69, (0.05, 200)), "photos", "runs/x", own=True)
    assert "commonest class alone" not in found.says


def test_held_out_images_of_the_datas_own_may_have_other_shares():
    """Taught on as many of each, judged where one is rare: what guessing costs, the training's shares say."""
    one = judgement((OK, OK, 380), (OK, DEFECT, 10), (DEFECT, DEFECT, 10))
    made = course(one, 0.35, (0.97, 200))
    record = dataclasses.replace(made.record, dataset={"split": {"origin": "folders"}})
    found = what_next(one, dataclasses.replace(made, record=record), "photos", "runs/x", own=True)
    assert found.limit != "not_converged"


@pytest.mark.parametrize("origin", ["seeded", "folders"])
@pytest.mark.parametrize("learnt", [(0.9, 200), (0.99, 200)])
def test_a_collapsed_network_does_not_know_its_images(origin, learnt):
    """Its loss is that of the shares, whoever has drawn the split."""
    one = judgement((OK, OK, 180), (DEFECT, OK, 20))
    made = course(one, 0.405, learnt)
    record = dataclasses.replace(made.record, dataset={"split": {"origin": origin}})
    for own in (True, False):
        found = what_next(one, dataclasses.replace(made, record=record), "photos", "runs/x", own=own)
        assert found.limit == "guessing"
        assert "commonest class alone" in found.says
