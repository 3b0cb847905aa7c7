"""The page of a comparison: the learning curves of both runs in one plot."""

from __future__ import annotations

import json
from pathlib import Path

from reports import judgement
from resnets.evaluation.comparison import compare_judgements
from resnets.pages import comparison
from resnets.pages.charts import together

NAMES = ("cat", "dog")


def lines(epochs: int, top1: float) -> list[dict]:
    return [
        {
            "kind": "epoch",
            "step": 5 * n,
            "epoch": n,
            "loss": 1 / n,
            "held_out_loss": 2 / n,
            "top1": top1,
            "train_top1": 1,
        }
        for n in range(1, epochs + 1)
    ]


def test_the_frames_hold_both_runs():
    found = together([lines(4, 0.45), lines(9, 0.85)])
    assert found is not None
    assert found["loss"].x_range == (0, 9)
    assert found["top1"].y_range == (0.4, 1.0)
    assert [run["run"] for run in found["runs"]] == [0, 1]
    assert [len(run["right"]) for run in found["runs"]] == [4, 9]


def test_a_model_that_is_no_run_has_no_curve():
    found = together([[], lines(3, 0.5)])
    assert found is not None
    assert [run["run"] for run in found["runs"]] == [1]
    assert together([[], []]) is None


def test_a_run_that_held_nothing_out_has_its_training_alone():
    bare = [{k: v for k, v in line.items() if k in ("kind", "step", "epoch", "loss")} for line in lines(3, 0.5)]
    found = together([bare, []])
    assert found is not None
    assert found["top1"] is None


def test_a_log_in_which_somebody_has_written_is_no_traceback():
    odd = lines(3, 0.5)
    odd[-1]["top1"] = "x"
    found = together([odd, lines(3, 0.5)])
    assert found is not None
    assert [len(run["right"]) for run in found["runs"]] == [2, 3]


def page(tmp_path: Path, models: list[str]) -> str:
    result = compare_judgements(judgement(NAMES, seed=1), judgement(NAMES, seed=2), NAMES)
    comparison.write(tmp_path / "page.html", result, "photos", models)
    return (tmp_path / "page.html").read_text()


def test_the_page_draws_the_runs_in_their_colours(tmp_path):
    for name, top1 in (("one", 0.5), ("other", 0.75)):
        (tmp_path / name).mkdir()
        text = "".join(f"{json.dumps(line)}\n" for line in lines(6, top1))
        (tmp_path / name / "log.jsonl").write_text(text)
    text = page(tmp_path, [str(tmp_path / "one"), str(tmp_path / "other")])
    assert "Learning curves" in text
    assert text.count('<polyline class="accent dashed"') == text.count('<polyline class="warm dashed"') == 2
    assert "epoch 6: 75.00 %" in text


def test_files_alone_have_no_curves(tmp_path):
    assert "Learning curves" not in page(tmp_path, ["model.safetensors", str(tmp_path)])
