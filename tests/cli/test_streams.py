"""Standard streams that are closed, full, gone or one file: every verb, in processes of its own.

Most are forked from a server that has torch (`processes.SERVER`), with the streams that a shell would have given them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processes import SERVER

# What a shell makes of standard output and of standard error.
HEARD = ["2>/dev/full", "2>&-", "2>gone", ">same 2>&1", "| same 2>&1"]  # the document is whole, and alone
LOST = [">/dev/full", ">&-", ">gone", ">/dev/full 2>/dev/full", ">&- 2>&-"]  # the result cannot be written


@pytest.fixture(scope="module")
def place(once: Callable[..., Path], trained: str) -> Path:
    """A folder with what the verbs take. Only to be read."""

    def make(folder: Path) -> None:
        random = np.random.default_rng(0)
        for number in range(12):
            for name in ("0", "1"):
                (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
        (folder / "run").symlink_to(trained)

    return once("streams", make)


VERBS = {
    "list": "list resnet2",
    "show": "show resnet20",
    "doctor": "doctor photos",
    "train": "train photos --model resnet20 --epochs 1 --image-size 8 --out {out}",
    "evaluate": "evaluate run photos",
    "predict": "predict run photos/0/0.png photos/1",
    "explain": "explain run photos/0/0.png --out {out}.png",
    "convert": "convert run {out}.safetensors",
    "export": "export run {out}.onnx",
    "bench": "bench resnet20 --engines torch --precision float32 --batch 1 --rounds 1 --against=",
}
SAMPLE = ("2>&-", ">same 2>&1", ">/dev/full")
ALL = [
    pytest.param(verb, streams, marks=[] if verb in ("list", "predict") or sample else pytest.mark.slow)
    for verb in VERBS
    for streams in HEARD + LOST
    for sample in [streams in (() if verb == "bench" else SAMPLE[1:2] if verb in ("train", "export") else SAMPLE)]
]


def child(command: str, streams: str, folder: str, said: str) -> None:
    """Be the command with these streams, as a shell starts it and as Python then finds it."""
    os.chdir(folder)
    out = os.open(f"{said}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    err = os.open(f"{said}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    full, (reader, gone) = os.open("/dev/full", os.O_WRONLY), os.pipe()
    os.close(reader)
    if streams.startswith("| same"):
        reader, out = os.pipe()
        if os.fork():  # the reader
            os.close(out)
            with open(f"{said}.out", "wb") as kept, open(reader, "rb") as given:
                kept.write(given.read())
            _, status = os.wait()
            os._exit(os.waitstatus_to_exitcode(status))
        os.close(reader)
    first = {">/dev/full": full, ">gone": gone, ">&-": None}
    second = {"2>/dev/full": full, "2>gone": gone, "2>&-": None, "2>&1": out}
    words = streams.split()
    for number, chosen in (
        (1, next((first[word] for word in words if word in first), out)),
        (2, next((second[word] for word in words if word in second), err)),
    ):
        if chosen is None:
            os.close(number)
        else:
            os.dup2(chosen, number)
    sys.stdout = None if ">&-" in words else open(1, "w", closefd=False)  # noqa: SIM115  (to the end of the child)
    sys.stderr = None if "2>&-" in words else open(2, "w", buffering=1, closefd=False)  # noqa: SIM115  (to the end of the child)
    from resnets.acceptance import exported
    from resnets.cli.main import main

    exported.SECONDS = 0.0
    status = main(command.split())
    if sys.stdout is not None:
        sys.stdout.flush()  # as Python does when it ends: what fails here would be its status 120
    os._exit(status)


def run(command: str, streams: str, place: Path, tmp_path: Path) -> tuple[int | None, str, str]:
    """(exit status, what reached standard output, and standard error)."""
    said = tmp_path / "said"
    process = SERVER.Process(target=child, args=(command.format(out=tmp_path / "made"), streams, str(place), str(said)))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "it has not ended"
    return process.exitcode, *(Path(f"{said}.{name}").read_text() for name in ("out", "err"))


def check(streams: str, status: int | None, out: str, err: str) -> None:
    assert "Traceback" not in out + err
    assert "Exception ignored" not in err
    if streams in HEARD:
        assert status == 0, err
        assert json.loads(out)
        return
    assert (status, out) == (1, "")
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    if "2>" in streams or "gone" in streams:
        assert told == []
    else:
        (line,) = told
        assert line.startswith("error: The result cannot be written to standard output (")


@pytest.mark.parametrize(("verb", "streams"), ALL)
def test_no_stream_ends_a_verb_and_a_document_is_alone(place: Path, tmp_path: Path, verb: str, streams: str) -> None:
    check(streams, *run(f"{VERBS[verb]} --json", streams, place, tmp_path))
    if verb == "train":
        assert (tmp_path / "made" / "report.html").exists(), "the work that was done is there"


@pytest.mark.parametrize("words", ["list resnet2 --json", "list resnet2", "--help"])
@pytest.mark.parametrize("streams", [*HEARD, *LOST])
def test_python_itself_ends_well(tmp_path: Path, words: str, streams: str) -> None:
    """From a real shell to the end of the interpreter, which flushes what is left."""
    if "gone" in streams or (streams in HEARD and "--json" not in words):
        pytest.skip("no such thing in a shell, or nothing to see")
    what = streams.replace("| same 2>&1", "2>&1 | cat").replace("same", "out") + ("" if "same" in streams else " >out")
    what = what.replace(" >out", "") if streams in LOST else what
    more = "" if "2>" in what else " 2>err"
    shell = f"set -o pipefail; {{ {sys.executable} -m resnets {words} {what}{more}; }}"
    with open(tmp_path / "shell", "wb") as kept:
        done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, stdout=kept, stderr=kept, check=False)
    found = [tmp_path / name for name in ("shell", "out", "err")]
    shell_said, out, err = (path.read_text() if path.exists() else "" for path in found)
    check(streams, done.returncode, out or shell_said, err)


def test_an_error_is_said_once_where_there_is_no_document(place: Path, tmp_path: Path) -> None:
    status, out, err = run("predict run nowhere.png --json", ">same 2>&1", place, tmp_path)
    assert (status, err) == (2, "")
    assert out == "error: There is nothing to predict: nowhere.png: there is no such file.\n"
    status, out, err = run("predict run nowhere.png photos/0/0.png --json", ">same 2>&1", place, tmp_path)
    assert status == 1
    assert len(json.loads(out)["failed"]) == 1, "the document says it"
