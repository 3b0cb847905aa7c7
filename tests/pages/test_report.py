"""The report: complete, honest, small, and never a danger to a finished run."""

import json
import math
import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import resnets
from reports import classifier, evaluation, judgement
from resnets.cli.main import main
from resnets.evaluation.significance import shown
from resnets.pages import charts, page, provenance, report
from resnets.text import typed
from resnets.training.curves import draw_curves
from resnets.weights import Calibration, Provenance

CLASSES = ("ant", "bee", "cat")


def written(tmp_path, one, *, model=None, **options):
    """The text of the report of a judgement."""
    path = tmp_path / "report.html"
    model = model or classifier(one.classes)
    report.write(path, model, evaluation(one, **options.pop("more", {})), data="photos", **options)
    return path.read_text(encoding="utf-8")


def words(text):
    """What a reader of the page sees, in one line."""
    body = text[text.index("<main>") :]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


# What it says ---------------------------------------------------------------------------------------------


def test_the_verdict_says_how_good_and_how_sure(tmp_path):
    one = judgement(CLASSES, 100)
    verdict = words(written(tmp_path, one))
    right = one.correct.mean()
    match = re.search(r"Right on ([\d.]+) % \((\d+) to (\d+)\) of 300 held-out images", verdict)
    found, low, high = map(float, match.groups())
    assert found == round(100 * right, 1)
    assert low < found < high
    assert high - low == pytest.approx(4 * 100 * np.sqrt(right * (1 - right) / 300), rel=0.1)


@pytest.mark.parametrize(
    ("split", "said"), [("val", "held-out images"), ("test", "test images"), ("train", "images that it was trained on")]
)
def test_the_verdict_says_which_images(tmp_path, split, said):
    assert f"of 60 {said}" in words(written(tmp_path, judgement(CLASSES), more={"split": split}))


def test_no_better_than_the_commonest_class(tmp_path):
    assert "no better than always giving the commonest" in words(written(tmp_path, judgement(CLASSES, 20, 0.2)))
    assert "no better than" not in words(written(tmp_path, judgement(CLASSES, 20, 0.9)))


def honest(seed, images=3000, sharpen=1.0):
    """A judgement whose labels are drawn from the very probabilities that it states, which then are sharpened."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (images, 3)).astype(np.float32)
    stated = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (random.random(images)[:, None] > stated.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    one = judgement(CLASSES, images // 3)
    samples = tuple(replace(s, label=CLASSES[label]) for s, label in zip(one.samples, labels, strict=True))
    return replace(one, logits=logits * sharpen, labels=labels, samples=samples)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (honest(0), "can be taken at their word"),
        (honest(0, sharpen=3.0), "its probabilities are too high"),
        (honest(0, sharpen=0.3), "its probabilities are too low"),
        (honest(0, images=60), "nothing speaks against its probabilities, on as few images"),
    ],
    ids=["honest", "too sure", "too modest", "too few to tell"],
)
def test_what_it_says_of_probabilities(tmp_path, one, said):
    assert said in words(written(tmp_path, one))


def test_a_sure_and_wrong_pair_is_named(tmp_path):
    one = judgement(CLASSES, 30, 1.0)
    logits = one.logits.copy()
    logits[35:40] = (20, 0, 0)
    text = words(written(tmp_path, replace(one, logits=logits)))
    assert "and still wrong on 5 of those, most often where it takes bee for ant ;" in text
    assert "bee taken for ant : 5 of 30" in text


def test_mistakes_come_the_surest_first_with_heat(tmp_path):
    one = judgement(CLASSES, 40)
    text = written(tmp_path, one)
    section = text[text.index('<section id="mistakes">') : text.index('<section id="pairs">')]
    keys = re.findall(r'class="path"><bdi>(.*?)</bdi>', section)
    wrong = np.flatnonzero(~one.correct)
    surest = wrong[np.argsort(-one.probabilities.max(axis=1)[wrong], kind="stable")][: report.MISTAKES]
    assert keys == [one.samples[row].key for row in surest]
    assert section.count("<img ") == 2 * len(keys)


def test_without_mistakes(tmp_path):
    text = written(tmp_path, judgement(CLASSES, 20, 1.0))
    assert 'id="mistakes"' not in text
    assert 'href="#mistakes"' not in text
    assert "Right on 100.0 % (94 to 100) of 60" in words(text)


def test_classes_the_least_recognised_first_with_their_intervals():
    rows = report._classes(np.array([[8, 2, 0], [5, 5, 0], [0, 0, 0]]), CLASSES)
    assert [row["name"] for row in rows] == ["bee", "ant", "cat"]
    assert rows[0]["recall"]["share"] == 0.5
    assert rows[0]["recall"]["interval"] == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert (rows[0]["taken_for"], rows[0]["times"]) == ("ant", 5)
    assert (rows[2]["recall"], rows[2]["precision"], rows[2]["taken_for"]) == (None, None, None)


def test_doubts_are_shown_where_the_model_has_them(tmp_path):
    one = judgement(CLASSES, 30)
    assert 'id="unsure"' not in written(tmp_path, one)
    calibration = Calibration(2.0, 0.3, coverage=0.9)
    doubting = replace(
        one, calibration=calibration, thresholds=np.full(90, 0.3), unlikeness=np.where(np.arange(90) < 9, 2.0, 0.5)
    )
    text = words(written(tmp_path, doubting))
    for key, sentence in (
        ("coverage", "true class among those kept {:.1f} %"),
        ("unlike", "unlike all that it knows {:.1f} %"),
    ):
        assert sentence.format(100 * doubting.figures[key]) in text


def test_findings_are_listed(tmp_path):
    findings = [
        {"kind": "leak", "severity": "error", "paths": ["a/1.jpg"] * 6, "mend": "Remove them.", "text": "Six leaks."}
    ]
    text = words(written(tmp_path, judgement(CLASSES), findings=findings))
    assert "error Six leaks. Remove them. a/1.jpg , a/1.jpg , a/1.jpg , a/1.jpg and 2 more" in text


@pytest.mark.parametrize(("images", "said"), [(6, False), (12, True)])
def test_no_sentence_is_made_of_fewer_than_twenty_images(tmp_path, images, said):
    """Right or wrong: of 18 images, or of more than twenty that it is sure of."""
    for right in (1.0, 0.5):
        text = words(written(tmp_path, judgement(CLASSES, images, right, strength=40.0)))
        assert ("sure of itself" in text) is said
        assert ("too few images to judge its probabilities by" in text) is not said


def test_the_network_is_priced_at_the_size_that_it_sees(tmp_path):
    model = classifier(CLASSES)
    text = words(written(tmp_path, judgement(CLASSES), model=model))
    priced = resnets.plan(model.network.plan.spec, num_classes=3, image_size=16)
    assert f"{priced.macs:,} multiply-adds for an image of 16 × 16 pixels" in text


def log_of(losses, held_out):
    for epoch, (loss, judged) in enumerate(zip(losses, held_out, strict=True), 1):
        yield {"kind": "step", "step": epoch - 1, "epoch": epoch, "loss": loss}
        yield {"kind": "epoch", "step": 1, "epoch": epoch, "loss": loss, "held_out_loss": judged, "top1": 0.5}


@pytest.mark.parametrize(
    ("losses", "held_out", "highest", "beyond"),
    [
        ([2.3, 1.0, 0.4], [1.9, 1.1, 0.8], 2.3, []),
        ([2.3, *[0.001] * 99], [2.0, *[0.01] * 99], 2.3, []),  # a long run: the beginning stays
        ([0.05, 0.04], [0.3, 0.25], 0.3, []),  # the held-out loss lies above the training loss
        ([1.5, 1.2, 1.3], [1.4, 480.0, 1.6], 1.6, ["held out up to 480, in 1 of 3 epochs"]),
        (
            [1.5, 1.2, 1.1, 8.0, 1e20],
            [1.4, 1.3, 1.2, 9.0, math.inf],
            1.5,
            ["training up to 1e+20, in 2 of 5 epochs", "held out up to no finite number, in 2 of 5 epochs"],
        ),
        ([1e20, math.nan], [None, None], 1.0, None),
    ],
)
def test_the_loss_chart_shows_the_usual_range_and_says_what_it_cut(losses, held_out, highest, beyond, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_of(losses, held_out)))
    found = charts.curves([*log_of(losses, held_out)])
    assert found["loss"].y_range == (0, pytest.approx(1.1 * highest))
    text = written(tmp_path, judgement(CLASSES), run=run)
    assert not {"nan", "inf"} & set(re.findall(r"[a-z]+", " ".join(re.findall(r'(?:points|c[xy])="([^"]*)"', text))))
    if beyond is not None:
        assert found["beyond"] == beyond
    for line in beyond or ():
        assert line in words(text)
    assert all(value == int(value) for value in found["loss"].x_ticks())
    draw_curves(run, "title", None)


# Any names, any number of classes ---------------------------------------------------------------------------


def test_hostile_names_are_shown_and_do_nothing(tmp_path):
    names = ('<script>alert("x")</script>', "a\nb", "\u202egnp.exe", "עברית", "x" * 250, "\udcff<img src=x onerror=y>")
    one = judgement(names, 20, keys=[f"val/<b>{row}\n</b>.jpg" for row in range(120)])
    provenance = {"network": "</title><script>", "dataset": {"name": "<i>", "split": {}}, "recipe": {"<u>": "<s>"}}
    text = written(tmp_path, one, model=classifier(names, provenance=Provenance.from_dict(provenance)))
    for tag in ("<script", "<b>", "<i>", "<u>", "<s>", "<img src=x", "\u202e"):
        assert tag not in text
    assert "&lt;script&gt;alert(" in text
    assert "עברית" in text
    assert len(re.findall(r"<img ", text)) == len(
        re.findall(r'<img src="data:image/(?:png|jpeg);base64,[^"]*" alt="[^"]+">', text)
    )


@pytest.mark.parametrize("count", [2, 13, 200, 1000])
def test_any_number_of_classes(tmp_path, count):
    one = judgement([f"class {number}" for number in range(count)], 600 // count + 2)
    text = written(tmp_path, one)
    assert len(text) < 1.5e6
    assert ("<image " in text) == (count > charts.AS_TABLE)
    assert all(f"class {number}<" in text for number in range(count))


def test_confusable_classes_stand_together():
    confusion = 90 * np.eye(40, dtype=int)
    places = np.random.default_rng(0).permutation(40).reshape(20, 2)
    for first, second in places:
        confusion[first, second] = confusion[second, first] = 10
    order = charts.confusable_order(confusion).tolist()
    assert sorted(order) == list(range(40))
    assert all(abs(order.index(first) - order.index(second)) == 1 for first, second in places)


def test_the_matrix_counts_what_was_said():
    confusion = np.array([[7, 2, 0], [0, 9, 0], [0, 0, 5]])
    matrix = charts.matrix(confusion, CLASSES)
    counts = np.array([[cell["count"] for cell in row["cells"]] for row in matrix["rows"]])
    assert np.array_equal(counts, confusion[np.ix_(matrix["order"], matrix["order"])])
    assert [row["name"] for row in matrix["rows"]] == [CLASSES[place] for place in matrix["order"]]


def test_bins_hold_every_image():
    confidence = np.array([0.05, 0.5, 0.52, 0.99, 1.0])
    found = charts.reliability(confidence, np.array([True, False, True, True, True]))
    assert [part["images"] for part in found["bins"]] == [1, 2, 2]
    assert found["bins"][1]["right"] == 0.5
    assert found["bins"][1]["said"] == pytest.approx(0.51)


# Runs and commands ------------------------------------------------------------------------------------------


def test_the_report_of_a_run(trained, tmp_path, capsys):
    path = tmp_path / "report.html"
    assert main(["evaluate", trained, "digits", "--report", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    text = path.read_text(encoding="utf-8")
    for part in ("mistakes", "pairs", "matrix", "classes", "calibration", "curves", "network", "origin", "commands"):
        assert f'id="{part}"' in text, part
    top1 = shown(result["top1"], result["top1_interval"])
    assert f"Right on {top1} of {result['images']} held-out images" in words(text)
    assert "learning rate" in words(text)
    assert len(text) < 1e6
    assert main(["evaluate", trained, "digits", "--report", str(path)]) == 0  # over an older page


@pytest.mark.parametrize("log", ["", "{", '{"kind": "step", "step": 0, "loss": 1.0}\n{"kind": "ep'])
def test_a_run_that_lost_its_log(tmp_path, log):
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text(log)
    assert 'id="curves"' not in written(tmp_path, judgement(CLASSES), run=run)


def test_nothing_is_overwritten_and_it_is_said_before_the_work(trained, tmp_path, capsys):
    photo = tmp_path / "1.jpg"
    photo.write_bytes(b"photo")
    for target in (photo, Path(trained) / "model.safetensors", tmp_path, tmp_path / "nowhere" / "r.html"):
        assert main(["evaluate", trained, "nothing here", "--report", str(target)]) == 2
        error = capsys.readouterr().err
        assert target.name in error
        assert "nothing here" not in error
    assert photo.read_bytes() == b"photo"


@pytest.mark.parametrize("name", ["plain", "two words", "it's $HOME `x`", "a\nb", "\udcff\\'x", "-", "\x85\u202e"])
def test_commands_can_be_typed(name):
    line = typed("printf", "%s", name)
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line.encode()], capture_output=True, check=True)
    assert done.stdout == name.encode("utf-8", "surrogateescape")


def test_the_command_trains_the_same_again(trained):
    record, _ = provenance.read_run(Path(trained))
    record = replace(record, asked=replace(record.asked, network="resnet20"))
    lines = dict(provenance.commands("runs/my run", "digits", "val", record, Path(trained)))
    assert shlex.split(lines["Train it again"]) == [
        *("resnets", "train", "digits", "--recipe", f"{trained}/recipe.toml", "--seed", "1", "--model", "resnet20")
    ]
    assert "--split val" in lines["Judge it again"]
    assert shlex.split(lines["Use it"])[2] == "runs/my run"


@pytest.mark.parametrize("name", ["photos", "two words", "-x", "digits"])
def test_what_a_run_keeps_absolute_is_typed_from_here(trained, tmp_path, monkeypatch, name):
    """A data folder may be called like a set or begin with a hyphen, and its owner's home is nobody's business."""
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    record, _ = provenance.read_run(Path(trained))
    asked = replace(record.asked, data=str(tmp_path / name), network="resnet20", weights=str(tmp_path / "w.pt"))
    lines = dict(provenance.commands("run", "photos", "val", replace(record, asked=asked), Path("run")))
    typed_words = shlex.split(lines["Train it again"])
    assert typed_words[2] == {"photos": "photos", "two words": "two words"}.get(name, f"./{name}")
    assert typed_words[-1] == "w.pt"
    assert os.path.samefile(typed_words[2], tmp_path / name)
    assert not any(str(tmp_path) in line for line in lines.values())


def test_a_network_that_was_given_as_a_spec_is_said_in_python(trained):
    record, _ = provenance.read_run(Path(trained))
    line = dict(provenance.commands("run", "digits", "all", record, Path(trained)))["Train it again (Python)"]
    compile(line, "line", "exec")
    assert "ResNetSpec.from_dict(" in line


def test_it_loads_nothing_from_elsewhere(tmp_path):
    text = written(tmp_path, judgement(CLASSES))
    assert text.startswith(page.BEGINNING)
    outside = [url for url in re.findall(r'(?:src|href)="([^"]*)"', text) if not url.startswith(("#", "data:image/"))]
    assert outside == []
