"""What leaves the command: names of strangers are shown as they are, and move nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resnets import cli
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.cli.output import console, line, note, rows_of
from resnets.data.preprocess import Preprocessing
from resnets.network import create
from resnets.weights import Model, save

ODD = "[red]a[/] :cat:\x1b[31m\u202egpj\u200b\nb\ud800"
SHOWN = r"[red]a[/] :cat:\x1b[31m\u202egpj\u200b\nb\ud800"


def test_a_line_is_one_line_whatever_it_names(capsys):
    line(ODD)
    note(ODD)
    assert capsys.readouterr() == (SHOWN + "\n", SHOWN + "\n")


def test_tables_know_no_markup_no_emoji_and_no_escape_sequences(capsys, monkeypatch):
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", "200")
    table = Table(ODD.replace("\n", ""))
    table.add_row(ODD)
    console().print(ODD, table)
    out = capsys.readouterr().out
    first, second = SHOWN.split(r"\n")
    assert [out.count(part) for part in (first, second)] == [3, 3]
    assert "\x1b" not in out


def test_verbs_print_through_one_place():
    """`print` itself knows nothing of names, or of streams that are gone."""
    room = Path(cli.__file__).parent
    generators = {"reference.py", "python_reference.py", "file_reference.py", "output.py"}
    for path in room.glob("*.py"):
        if path.name not in generators:
            bare = [row for row in path.read_text().splitlines() if row.strip().startswith("print(")]
            assert all(row.strip().partition(".")[2].startswith("get_help(") for row in bare), path.name


@pytest.mark.parametrize("command", ["predict {model} {photos}", "evaluate {model} {photos} --split train"])
@pytest.mark.parametrize("more", ["", " --json"])
def test_classes_and_files_of_strangers_reach_no_terminal_raw(tmp_path, photo_folder, capsys, command, more):
    odd = ODD.replace("\ud800", "\udcff")
    classes = ("cat", odd.replace("/", ""), "\ud800")
    model = tmp_path / "m.safetensors"
    network = create(ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8), num_classes=3, seed=0)
    save(model, Model(network, classes, Preprocessing.evaluation(8)))
    photos = photo_folder(classes[:2], images=2, splits=("train", "val"))
    (photos / "train" / "cat" / "\x1b[2J.jpg").write_bytes(b"broken")
    main((command.format(model=model, photos=photos) + more).split())
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    assert r"\x1b[31m\u202e" in out or "\\u202e" in out
    if more:
        assert repr(odd.replace("/", ""))[1:-1] in repr(json.loads(out))


def test_usage_errors_show_what_was_typed_and_nothing_else(capsys):
    assert main(["show", "resnet18", "--\x1b[2J"]) == 2
    first, hint = capsys.readouterr().err.splitlines()
    assert "\x1b" not in first
    assert r"\x1b[2J" in first
    assert hint.startswith("Try ")
    assert main(["list", "\x1b[2J\n"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert r"\x1b[2J\n" in said


def test_a_closed_standard_input_is_an_empty_one(trained):
    command = f"{sys.executable} -m resnets predict {trained} - 0<&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: There is nothing to predict: -: standard input is empty.\n"


def test_a_benchmark_of_an_oddly_named_file_is_drawn_and_tabled(tmp_path):
    from resnets.benchmark.report import write

    figures = {"images_per_second": 9.0, "ratio": None, "baseline": None, "latency": None}
    figures["batch_seconds"] = {"mean": 1.0, "sd": 0.0}
    row = {
        "name": "$a^|\x1b[2J{.safetensors",
        "task": "infer",
        "precision": "float32",
        "batch": 1,
        "who": "torchvision",
    }
    machine = {"cores": 2, "processor": "x"}
    document = {
        "rows": [{**row, **figures}],
        "machine": machine,
        "rounds": 1,
        "steps": None,
        "date": "2026-01-01",
        "versions": {},
    }
    write(document, tmp_path)
    assert (tmp_path / "bench.png").stat().st_size > 1000
    line = (tmp_path / "bench.md").read_text().splitlines()[-1]
    assert line.startswith(r"| $a^\|\x1b[2J{.safetensors | infer |")
    assert "\x1b" not in (tmp_path / "bench.svg").read_text()


def test_a_message_with_rows_keeps_them_and_no_name_makes_one_of_its_own(tmp_path, capsys):
    from safetensors.torch import save_file

    spec = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)
    weights = create(spec, num_classes=3, seed=0).state_dict()
    save_file({**weights, "odd\x1b[2J\nerror: all is well\u202e": torch.zeros(2)}, tmp_path / "w.safetensors")
    assert main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "m.safetensors")]) == 2
    first, *rows = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert [row for row in rows if row.startswith("  ")]
    assert not [row for row in rows if row.startswith("error: ")]
    assert all(row.isprintable() for row in [first, *rows])
    assert rows_of("a\nb\n  row\n  row\nIf so, do that.\nc") == ["a\nb", "  row", "  row", "If so, do that.\nc"]


def test_memory_that_runs_out_is_one_sentence(monkeypatch, capsys):
    """In a verb that does not say it better."""
    for problem in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ):

        def fails(*_, problem=problem, **__):
            raise problem

        monkeypatch.setattr("resnets.diagnosis.doctor", fails)
        assert main(["doctor", "digits"]) == 1
        assert capsys.readouterr().err == "error: The memory ran out: end other programs, or ask for less at once.\n"
    monkeypatch.setattr("resnets.diagnosis.doctor", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["doctor", "digits"])
