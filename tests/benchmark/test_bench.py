"""Benchmarks: sides that answer in processes of their own, the arithmetic of ratios, the table and the picture."""

import json
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from resnets.benchmark import BenchResult, bench, measure, ours, peers, plain, report, worker
from resnets.benchmark import groups as grouping
from resnets.benchmark.job import Job, UnableError, make_photos, noise
from resnets.benchmark.side import Side
from resnets.cli.bench import bench as verb
from resnets.errors import DataError, ParameterError, SpecError
from resnets.training.step import Step

JOB = Job(
    who="resnets torch",
    task="infer",
    model="resnet20",
    catalog="resnet20",
    classes=10,
    image_size=32,
    precision="float32",
)


def side(rates, batch=1, **changes):
    """A side of whose rounds each has three calls, at these images per second."""
    times = [[batch / rate, batch / rate, 3 * batch / rate] for rate in rates]
    return SimpleNamespace(job=replace(JOB, **changes), times=times, set_up=0.5)


def test_a_ratio_is_that_of_the_figures_shown():
    baseline = side([10, 20, 40], batch=4, who="torchvision")
    found = measure.speed(side([20, 60, 40], batch=4, precision="int8"), 4, baseline)
    assert found.images_per_second == pytest.approx(40)
    assert found.ratio == pytest.approx(2)
    assert found.ratio == found.images_per_second / found.baseline_images_per_second
    assert (found.baseline, found.latency) == ("torchvision float32", None)
    assert (found.name, found.who, found.precision, found.batch) == ("resnet20", "resnets torch", "int8", 4)


class Fake:
    """A side that writes its calls down among those of others; from the thirteenth on the machine is slow."""

    def __init__(self, job, calls, last=99):
        self.job, self.times, self.set_up, self.calls, self.last = job, [], 0.0, calls, last

    def ask(self, order):
        if "set_up" in order:
            return {"seconds": 0.5}
        if self.calls.count(self.job.who) >= self.last:
            raise UnableError("it gave up")
        self.calls.append(self.job.who)
        return {"times": [3.0 if len(self.calls) > 12 else 1.0]}


def test_sides_take_turns_call_by_call(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    order = []
    run = measure._Run((1,), rounds=2, seconds=1.5)
    sides = [Fake(replace(JOB, who=who), order) for who in ("torchvision", "resnets torch")]
    rows = run._batch(1, sides, sides[0], lambda *_: None)
    assert order[:4] == ["torchvision", "resnets torch"] * 2
    assert order[-4:] == ["resnets torch", "torchvision"] * 2  # the second round the other way about
    assert all(first != second for first, second in zip(order[::2], order[1::2], strict=True))
    assert [row.ratio for row in rows] == [1.0, 1.0]
    assert [len(one.times) for one in sides] == [2, 2]


def test_a_side_that_gives_up_leaves_no_row():
    calls = []
    run = measure._Run((1,), rounds=3, seconds=0)
    sides = [Fake(replace(JOB, who="torchvision"), calls), Fake(replace(JOB, who="timm"), calls, last=1)]
    steps = []
    rows = run._batch(1, sides, sides[0], lambda n, news="": steps.append(n))
    assert [row.who for row in rows] == ["torchvision"]
    assert sum(steps) == len(sides) * (1 + 3)
    assert run.skipped == [{"who": "timm", "name": "resnet20", "why": "it gave up"}]


def test_percentiles_are_over_all_calls_with_a_single_image():
    found = measure.speed(side([10] * 50), 1, None)
    assert found.latency == pytest.approx({"p50": 0.1, "p90": 0.3, "p99": 0.3})
    assert found.ratio is None


def test_a_whole_job_counts_its_files():
    found = measure.speed(side([2, 2], batch=1, task="files", files=("a.jpg", "b.jpg", "c.jpg")), 32, None)
    assert found.images_per_second == pytest.approx(6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_our_engines_work_as_a_side(monkeypatch, precision):
    kept = []
    monkeypatch.setattr(ours, "keep_memory", lambda: kept.append(True))
    work = ours.maker(replace(JOB, precision=precision))(3)
    assert work().shape == (3, 10)
    assert kept == [True]


def test_the_plain_network_gets_none_of_our_settings(monkeypatch):
    monkeypatch.setattr(ours, "keep_memory", lambda: pytest.fail("the allocator was set"))
    assert plain.maker(replace(JOB, who="plain torch"))(2)().shape == (2, 10)
    with pytest.raises(UnableError, match="it reads no files"):
        plain.maker(replace(JOB, who="plain torch", task="files"))


def test_the_other_tasks_of_ours(monkeypatch, tmp_path):
    monkeypatch.setattr(ours, "keep_memory", lambda: None)
    files = make_photos(tmp_path, 3)
    assert len(ours.maker(replace(JOB, task="files", files=files))(2)()) == 3
    pixels = ours.maker(replace(JOB, who="resnets", task="input", files=files))(5)()
    assert [one.shape for one in pixels] == [(32, 32, 3)] * 5
    network = ours.open_model("resnet20").network
    monkeypatch.setattr(ours, "open_model", lambda *_: SimpleNamespace(network=network))
    before = network.stem.conv.weight.clone()
    steps = []
    step = Step.__call__
    monkeypatch.setattr(Step, "__call__", lambda self, *parts: steps.append(self) or step(self, *parts))
    work = ours.maker(replace(JOB, who="resnets", task="train", precision="bfloat16"))(4)
    for _ in range(2):
        work()
    assert not network.stem.conv.weight.equal(before)
    assert [one.state.step for one in steps] == [2, 2]  # the very step of a training, and its state moves
    assert steps[0].precision == "bfloat16"


def test_a_side_answers_sets_up_and_fails_in_words():
    with Side(replace(JOB, image_size=16)) as one:
        assert one.ask(asdict(one.job)) == {"ready": True}
        assert one.ask({"set_up": 2})["seconds"] > 0
        assert one.ask({"run": 2, "seconds": 0})["times"][0] > 0
        with pytest.raises(UnableError, match="7"):
            one.ask({"run": 7, "seconds": 0})  # never set up
        one._process.kill()
        with pytest.raises(UnableError, match="its process ended"):
            one.ask({"set_up": 2})


def test_who_is_compared_with_whom():
    def groups(task, precisions, files=()):
        found = grouping.groups("resnet20", task, ["timm", "onnxruntime"], ["torch", "openvino"], precisions, files)
        return [[f"{one.who} {one.task} {one.precision}" for one in group] for group in found]

    base = "torchvision infer float32"
    ours = ["resnets torch infer", "resnets openvino infer"]
    assert groups("infer", ["float32", "bfloat16", "int8"]) == [
        [
            base,
            *(f"{who} float32" for who in [*ours, "timm infer", "onnxruntime infer"]),
            *(f"{who} bfloat16" for who in [*ours, "timm infer"]),
            *(f"{who} int8" for who in [*ours, "onnxruntime infer"]),
        ]
    ]
    assert [group[0] for group in groups("infer", ["int8"], ("a.jpg",))] == [base, "torchvision files float32"]
    assert groups("train", ["bfloat16", "int8"]) == [
        ["torchvision train float32", "resnets train bfloat16", "timm train bfloat16"]
    ]


@pytest.mark.parametrize(
    ("calls", "counted"),
    [
        ([9, 0.2], [9]),  # a long one
        ([0.4, 0.2], [0.2]),  # the first of short ones is for the caches
    ],
)
def test_a_turn(monkeypatch, calls, counted):
    rest = iter(calls)
    monkeypatch.setattr(worker, "_timed", lambda _: next(rest))
    assert worker._times(lambda: None, 0.5) == counted


def test_one_run(capsys, monkeypatch):
    steps = []

    @contextmanager
    def track(what, total, unit):
        steps.append(total)
        yield lambda n, news="": steps.append(-n)

    monkeypatch.setattr(measure, "track", track)
    choice = {"engines": ["torch"], "against": ["timm"], "precisions": ["float32", "bfloat16"]}
    document = bench(["resnet20"], **choice, batches=(1, 2), rounds=2, seconds=0).document()
    assert sum(steps) == 0  # all of the steps that were announced were done, or left out
    rows = {(f"{row['who']} {row['precision']}", row["batch"]): row for row in document["rows"]}
    sides = ("plain torch float32", "resnets torch float32", "resnets torch bfloat16")
    assert set(rows) == {(who, batch) for who in sides for batch in (1, 2)}
    assert len(rows) == len(document["rows"])
    assert rows["plain torch float32", 2]["ratio"] == 1
    assert {row["baseline"] for row in rows.values()} == {"plain torch float32"}
    for row in rows.values():  # every ratio, of what is shown
        shown = rows[row["baseline"], row["batch"]]["images_per_second"]
        assert row["ratio"] == row["images_per_second"] / shown
        assert row["baseline_images_per_second"] == shown
    assert rows["resnets torch float32", 1]["latency"].keys() == {"p50", "p90", "p99"}
    assert {"machine", "versions", "rows", "task", "date", "rounds", "steps", "skipped"} == document.keys()
    assert [(one["who"], one["name"]) for one in document["skipped"]] == [
        (p, "resnet20") for p in ("torchvision", "timm")
    ]
    assert "left out: torchvision, resnet20 in float32: " in capsys.readouterr().err
    json.dumps(document)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "precision"),
    [(who, precision) for who, precisions in peers.PRECISIONS.items() for precision in precisions],
)
def test_the_peers_work_as_sides(who, precision):
    one = replace(JOB, who=who, precision=precision, model="resnet18", catalog="resnet18", classes=1000, image_size=64)
    with Side(one) as peer:
        try:
            peer.ask(asdict(one))
        except UnableError as problem:
            if "is not installed" not in str(problem):
                raise
            pytest.skip(str(problem))
        peer.ask({"set_up": 2})
        assert peer.ask({"run": 2, "seconds": 0})["times"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "inference"}, ParameterError, "There is no task 'inference'."),
        ({"against": ["tim"]}, ParameterError, "There is no peer 'tim'. Did you mean \"timm\"?"),
        ({"precisions": ["fp16"]}, ParameterError, "There is no precision 'fp16'."),
        ({"engines": ["torhc"]}, ParameterError, "There is no engine 'torhc'. Did you mean \"torch\"?"),
        ({"task": "train", "precisions": ["int8"]}, ParameterError, "There is nothing to measure"),
        ({"batches": [0]}, ParameterError, "`batches` are whole numbers from 1 to 4096, not 0."),
        ({"batches": [1, -3]}, ParameterError, "from 1 to 4096, not -3."),
        ({"batches": [2.5]}, ParameterError, "from 1 to 4096, not 2.5."),
        ({"rounds": 0}, ParameterError, "`rounds` is a whole number of 1 or more, not 0."),
        ({"seconds": -1}, ParameterError, "A round lasts 0 seconds or more, not -1."),
        ({"seconds": float("nan")}, ParameterError, "A round lasts 0 seconds or more, not nan."),
        ({"models": ["resnet5O"]}, SpecError, "There is no network 'resnet5O'. Did you mean"),
    ],
)
def test_wrong_choices_are_named(options, error, message):
    with pytest.raises(error) as caught:
        bench(**{"models": ["resnet20"], **options})
    assert message in str(caught.value)


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no JPEG files"):
        bench(["resnet20"], images=tmp_path)


def test_noise_is_of_the_range_of_photos():
    x = noise(4, 64)
    assert x.shape == (4, 3, 64, 64)
    assert float(x.min()) >= -2.1
    assert float(x.max()) <= 2.6
    assert 0.5 < float(x.std()) < 1.5


def result_of(rows, steps=None):
    machine = {"processor": "a <processor>", "cores": 2}
    versions = {"torch": "9"}
    date = "2030-01-02T03:04:05+00:00"
    about = {"date": date, "machine": machine, "versions": versions, "rounds": 3, "steps": steps}
    return BenchResult(task="infer", rows=tuple(rows), **about)


def rows():
    baseline = side([10, 10], who="torchvision")
    sides = [baseline, side([20, 20]), side([80, 80], who="openvino", precision="int8")]
    return [measure.speed(one, batch, baseline) for batch in (1, 8) for one in sides]


def test_the_table():
    text = report.markdown(result_of(rows()).document())
    lines = text.splitlines()
    assert lines[0] == (
        "Ratio to torchvision float32 at the same batch. Medians of 3 alternating rounds on 2 cores of a <processor>, "
        "2030-01-02: torch 9."
    )
    assert len(lines) == 2 + 2 + 6
    assert lines[5] == "| resnet20 | infer | float32 | 1 | resnets torch | 20.0 | 2.00 | 50.00 | 150.00 | 150.00 |"
    assert lines[8] == "| resnet20 | infer | float32 | 8 | resnets torch | 160.0 | 2.00 |  |  |  |"


def test_counted_calls_have_their_mean_and_deviation():
    """Three calls of 50, 50 and 150 ms in each of two rounds."""
    baseline = side([20, 20], batch=2, who="torchvision")
    found = measure.speed(baseline, 2, baseline, counted=True)
    assert found.batch_seconds == pytest.approx({"mean": 1 / 6, "sd": 0.1032796, "calls": 6})
    assert found.latency == pytest.approx({"p50": 0.1, "p90": 0.3, "p99": 0.3})
    text = report.markdown(result_of([found], steps=6).document())
    assert "6 calls of each in turn on 2 cores" in text
    assert text.splitlines()[2].endswith("| p99 ms | s / batch |")
    assert text.splitlines()[4].endswith("| 300.00 | 0.1667 +/- 0.1033 |")


def test_a_number_of_calls_is_that_of_each_side():
    calls = []
    run = measure._Run((1,), rounds=1, seconds=9e9, steps=4)
    sides = [Fake(replace(JOB, who=who), calls) for who in ("torchvision", "resnets torch")]
    rows = run._batch(1, sides, sides[0], lambda *_: None)
    assert [row.batch_seconds["calls"] for row in rows] == [4, 4]
    assert len(calls) == 8


def test_steps_measure_forward_and_backward(monkeypatch):
    found = bench(["resnet20"], engines=["torch"], against=[], precisions=["float32"], batches=[2], steps=3)
    assert [(row.task, row.who) for row in found.rows] == [
        ("infer", "plain torch"),
        ("infer", "resnets torch"),
        ("backward", "plain torch"),
        ("backward", "resnets"),
    ]
    assert {row.batch_seconds["calls"] for row in found.rows} == {3}
    assert all(row.latency for row in found.rows)
    assert found.document()["steps"] == 3


def test_everything_is_written(tmp_path):
    document = result_of(rows()).document()
    report.write(document, tmp_path / "new" / "folder")
    assert json.loads((tmp_path / "new/folder/bench.json").read_text()) == document
    assert (tmp_path / "new/folder/bench.md").read_text() == report.markdown(document)
    assert (tmp_path / "new/folder/bench.png").read_bytes()[:4] == b"\x89PNG"
    drawn = (tmp_path / "new/folder/bench.svg").read_text()
    assert "<svg" in drawn


def test_nothing_measured_is_no_picture(tmp_path):
    report.write(result_of([]).document(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.md"]


@pytest.fixture
def run(monkeypatch):
    """The verb, with a run that measures nothing: (arguments) -> (result, what was asked for)."""
    asked = {}

    def measured(models, **options):
        asked.update(options, models=models)
        return result_of(rows())

    monkeypatch.setattr("resnets.benchmark.bench", measured)
    app = typer.Typer(rich_markup_mode=None)
    app.command()(verb)
    return lambda *arguments: (CliRunner().invoke(app, arguments), asked)


def test_the_verb_prints_a_table(run):
    result, asked = run()
    assert result.exit_code == 0
    assert asked["models"] == ["resnet18", "resnet50"]
    assert asked["against"] == ["torchvision", "timm", "onnxruntime", "openvino"]
    assert "resnet20 int8, 8 at once" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout


def test_the_verb_prints_one_document(run, tmp_path):
    result, asked = run("resnet50", "--batch", "1,32", "--precision", "int8", "--against", "", "--json")
    assert set(json.loads(result.stdout)) >= {"machine", "versions", "rows"}
    assert (asked["models"], asked["batches"], asked["precisions"]) == (["resnet50"], [1, 32], ["int8"])
    assert asked["against"] == []
    result, _ = run("--out", str(tmp_path / "out"), "--json")
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == json.loads(result.stdout)


@pytest.mark.parametrize("batch", ["0", "eight", "1,-2", "99999"])
def test_the_verb_wants_whole_batches(run, batch):
    result, _ = run("--batch", batch)
    assert result.exit_code == 2
    assert "takes whole numbers from 1 to 4096" in result.stderr


def test_files_of_one_name_are_told_apart():
    names = ["runs/a/model.safetensors", "runs/b/model.safetensors", "resnet50"]
    assert list(report.short(names).values()) == ["a/model.safetensors", "b/model.safetensors", "resnet50"]
    assert report.short(["runs/a/model.safetensors"] * 3) == {"runs/a/model.safetensors": "model.safetensors"}
    assert report.short([]) == {}


def test_a_place_that_cannot_be_written_is_said_before_minutes_of_measuring(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result, asked = run("resnet18", "--out", str(tmp_path / "notes.txt" / "bench"))
    assert isinstance(result.exception, OSError)  # which the command says in one sentence
    assert asked == {}
