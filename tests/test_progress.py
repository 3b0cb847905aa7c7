"""How the library speaks: one logger, which a program can silence or redirect, progress included."""

import json
import logging
import os
import pty
import subprocess
import sys
from contextlib import contextmanager

import pytest

from resnets import progress
from resnets.cli.main import main
from resnets.progress import LOG, say, track, warn


@pytest.fixture(autouse=True)
def _lines_at_once(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)


@contextmanager
def changed(**values):
    """The logger with other settings, for a while."""
    before = {name: getattr(LOG, name) for name in ("level", "propagate", "handlers")}
    for name, value in values.items():
        setattr(LOG, name, value)
    LOG.manager._clear_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(LOG, name, value)
        LOG.manager._clear_cache()


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append((record.levelname, record.getMessage()))


def speak():
    say("100 % said")
    warn("warned")
    with track("counting", 2) as advance:
        advance(2, "news")
        advance.say("told")


def test_a_program_that_configures_nothing_gets_plain_lines(capsys):
    speak()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["100 % said", "warning: warned", "counting: 2/2 images, 0 s left, news", "told"]


def test_a_level_decides_what_is_said_and_silenced_is_silent_progress_too(capsys):
    with changed(level=logging.WARNING):
        speak()
    assert capsys.readouterr() == ("", "warning: warned\n")
    with changed(level=logging.CRITICAL):
        speak()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("alone", [True, False])
def test_a_handler_gets_the_records_and_alone_nothing_is_printed_besides(capsys, alone):
    mine = Kept()
    with changed(handlers=[mine] if alone else [*LOG.handlers, mine]):
        speak()
    assert (capsys.readouterr().err == "") is alone
    line = "counting: 2/2 images, 0 s left, news"
    assert mine.records == [("INFO", "100 % said"), ("WARNING", "warned"), ("INFO", line), ("INFO", "told")]


def test_records_go_on_to_the_programs_own_handlers_where_it_says_so(capsys):
    mine = Kept()
    logging.getLogger().addHandler(mine)
    try:
        with changed(propagate=True):
            speak()
    finally:
        logging.getLogger().removeHandler(mine)
    assert capsys.readouterr() == ("", "")
    assert [level for level, _ in mine.records] == ["INFO", "WARNING", "INFO", "INFO"]


def test_the_time_left_is_told_by_the_recent_speed(monkeypatch, capsys):
    """Ten slow units of a hundred, then fast ones: what was slow once does not count for ever."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "LINE_EVERY", 10.0)
    with track("counting", 1000) as advance:
        for number in range(200):
            clock[0] += 10 if number < 10 else 1
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "counting: 1/1000 images, 2 h 46 min left"
    assert lines[-1] == "counting: 200/1000 images, 13 min 20 s left"
    clock[0] = 0.0
    with track("counting", 1000, done=900) as advance:  # of a run that goes on
        for _ in range(100):
            clock[0] += 1
            advance(1)
    assert "counting: 950/1000 images, 50 s left" in capsys.readouterr().err


def python(code, **more):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **more)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "", "hello\nwarning: oh\n"),
        ("log.setLevel(logging.ERROR)", "", ""),
        ("", "log.setLevel(logging.ERROR)", ""),
        ("", "log.disabled = True", ""),
        ("logging.basicConfig(format='mine %(message)s', level=logging.INFO)", "", "hello\nwarning: oh\n"),
        ("logging.basicConfig(format='mine %(message)s')", "log.propagate = True", "mine hello\nmine oh\n"),
        ("log.addHandler(logging.NullHandler()); log.propagate = False", "", ""),
        ("", "log.handlers = [logging.NullHandler()]", ""),
    ],
)
def test_what_a_program_configures_counts_before_and_after_the_import(before, after, said):
    done = python(
        f"import logging; log = logging.getLogger('resnets')\n{before}\nimport resnets\n{after}\n"
        "from resnets.progress import say, warn\nsay('hello'); warn('oh')"
    )
    assert (done.stdout, done.stderr) == ("", said)


def test_without_a_standard_error_nothing_breaks_and_nothing_goes_to_standard_output():
    done = python(
        "import sys, resnets; sys.stderr = None\n"
        "from resnets.progress import say, track\nsay('hello')\n"
        "with track('counting', 1) as advance: advance(1)"
    )
    assert (done.stdout, done.stderr) == ("", "")


BAR = """
import logging, sys, resnets
from resnets.progress import say, track
{setting}
with track("counting", 2) as advance:
    advance(1)
    say("said meanwhile")
    print("a result", flush=True)
    advance(1)
"""


def on_a_terminal(setting):
    """(standard output, what a terminal showed as standard error)."""
    terminal, end = pty.openpty()
    code = BAR.format(setting=setting)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=end, text=True) as process:
        os.close(end)
        out = process.stdout.read()
        process.wait()
    shown = b""
    try:
        while more := os.read(terminal, 4096):
            shown += more
    except OSError:
        pass  # the other end is closed, and all is read
    os.close(terminal)
    return out, shown.decode()


def test_a_terminal_gets_a_bar_with_lines_above_it_and_results_stay_on_standard_output():
    out, shown = on_a_terminal("")
    assert out == "a result\n"
    assert "said meanwhile" in shown
    assert "counting" in shown


@pytest.mark.parametrize(
    "setting",
    [
        "logging.getLogger('resnets').setLevel(logging.ERROR)",
        "logging.getLogger('resnets').handlers = [logging.NullHandler()]",
    ],
)
def test_no_bar_is_drawn_where_nothing_is_to_be_said(setting):
    assert on_a_terminal(setting) == ("a result\n", "")


def test_a_verb_speaks_on_standard_error_and_prints_one_document(trained, photo_folder, capsys):
    photos = photo_folder(("0", "1"), images=20)
    assert main(["predict", trained, str(photos), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["predictions"]) == 40
    assert "predicting: 40/40 images" in err
    assert [type(handler) for handler in LOG.handlers if isinstance(handler, progress.Plain)] == [progress._Default]


def test_a_terminal_that_goes_away_under_a_bar_ends_nothing():
    terminal, end = pty.openpty()
    code = """
import sys, time, resnets
from resnets.progress import say, track
with track("counting", 30) as advance:
    for _ in range(30):
        advance(1)
        say("said")
        time.sleep(0.03)
print("done")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=end, text=True) as process:
        os.close(end)
        os.read(terminal, 1)  # it has begun
        os.close(terminal)
        assert process.stdout.read() == "done\n"
    assert process.returncode in (0, 120), "120: Python itself, which could not empty its standard error"


def test_names_of_strangers_move_no_cursor(capsys):
    warn("left out: a\x1b[2J\u202e\u200b\r\nerror: no\udcff.jpg")
    assert capsys.readouterr().err == r"warning: left out: a\x1b[2J\u202e\u200b\r\nerror: no\xff.jpg" + "\n"
