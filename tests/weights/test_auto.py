"""Weights that come by themselves: the user's registry, and a server that serves, cuts, lies, dawdles and hangs."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_body import alike, beheaded
from test_convert import WRITTEN, model_of

from resnets.errors import FetchError, ModelFileError
from resnets.weights import load
from resnets.weights.body import auto, load_body
from resnets.weights.convert import write
from resnets.weights.registry import default_of, entry_of, tags
from resnets.weights.transfer import open_source

BRIEF = 0.5  # seconds here, so that hanging servers cost the tests little
PIECES = 12  # of a file that is sent slowly


class Handler(BaseHTTPRequestHandler):
    """Each request takes the next word of `server.plan`, the last one for ever."""

    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.path)
        word = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        content = server.files.get(self.path)
        if word == "hang":
            server.released.wait(20)
            return
        if word.isdecimal() or content is None:
            self.send_error(int(word) if word.isdecimal() else 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if word == "lie":
            body = bytes(len(body))
        if word == "cut":
            body = body[: len(body) // 2]
        if word == "hang midway":
            self.wfile.write(body[:100])
            server.released.wait(20)
            return
        step = max(len(body) // PIECES, 1) if word == "slow" else len(body)
        for place in range(0, len(body), step or 1):
            if word == "slow":
                time.sleep(2 * BRIEF / PIECES)
            self.wfile.write(body[place : place + step])

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.plan = ["good"]
        self.asked: list[str] = []
        self.released = threading.Event()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setattr("resnets.data.fetch.BRIEF", BRIEF)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def served(server: Server, home: Path, tmp_path: Path, **more: str) -> Path:
    """An entry for a pair of Caffe's files on the server; the .caffemodel."""
    model, text = write(model_of(WRITTEN["caffe"][2]), tmp_path / "net.caffemodel", "caffe")[:2]
    server.files = {f"/{path.name}": path.read_bytes() for path in (model, text)}
    lines = {
        "tag": '"mine"',
        "address": f'"{server.url}/net.caffemodel"',
        "sha256": f'"{sha256(server.files["/net.caffemodel"])}"',
        "files": f'[{{ address = "{server.url}/net.prototxt", sha256 = "{sha256(server.files["/net.prototxt"])}" }}]',
        "licence": '"BSD-2-Clause"',
        "source": '"https://example.org/mine"',
        "image_size": "48",
        "resize_to": "64",
        "channels": '"BGR"',
        "mean": "[104, 117, 123]",
        "std": "[1, 1, 1]",
        "levels": "255",
        "auto": "true",
    } | more
    registry = "[[weights]]\n" + "\n".join(f"{key} = {value}" for key, value in lines.items() if value)
    (home / "registry.toml").write_text(registry)
    return model


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert not out
    return err.splitlines()


# The user's registry.


def test_an_entry_is_fetched_once_and_knows_everything(server, home, tmp_path, capsys):
    path = served(server, home, tmp_path)
    assert auto(None) == "local:mine"
    assert server.asked == ["/net.caffemodel", "/net.prototxt"]
    found = load_body("local:mine")
    model = load("local:mine")
    assert (open_source("local:mine").model.classes, auto(None)) == (tuple("abcde"), "local:mine")
    assert len(server.asked) == 2  # nothing is fetched again
    assert said(capsys) == []
    assert alike(found.model, load(path))
    for one in (found.model, model):
        wanted = one.preprocessing
        assert (wanted.image_size, wanted.resize_to, wanted.channels) == (48, 64, "BGR")
        assert wanted.mean == pytest.approx([104 / 255, 117 / 255, 123 / 255])
        assert wanted.std == (1 / 255,) * 3
        assert one.provenance.pretrained == {
            "tag": "local:mine",
            "licence": "BSD-2-Clause",
            "source": "https://example.org/mine",
        }
    assert found.origin["name"] == "local:mine"
    assert found.origin["sha256"] == sha256(path.read_bytes())
    assert (found.origin["licence"], found.origin["source"]) == ("BSD-2-Clause", "https://example.org/mine")


def test_what_an_entry_leaves_out_is_as_the_file_says(server, home, tmp_path):
    nothing = dict.fromkeys(("image_size", "resize_to", "channels", "mean", "std", "levels", "licence", "source"), "")
    path = served(server, home, tmp_path, **nothing)
    found = load_body("local:mine")
    assert found.model.preprocessing == load(path).preprocessing
    assert (found.origin["licence"], found.origin["source"]) == (None, f"{server.url}/net.caffemodel")


def test_files_may_lie_anywhere(home, tmp_path):
    dialect, name, spec = WRITTEN["torchvision"]
    (tmp_path / "home" / "mine").mkdir()
    path = beheaded(model_of(spec), tmp_path / "home" / "mine" / name, dialect)
    for address in (str(path), f"mine/{name}"):
        row = f'[[weights]]\ntag = "a.b-c"\naddress = "{address}"\nauto = "resnet34"\n'
        (home / "registry.toml").write_text(row)
        assert auto("resnet34") == "local:a.b-c"
        assert load_body("local:a.b-c").model.classes == ()
        (home / "registry.toml").write_text(row + f'sha256 = "{sha256(path.read_bytes())}"\n')
        assert load_body("local:a.b-c").origin["name"] == "local:a.b-c"
        (home / "registry.toml").write_text(row + f'sha256 = "{"0" * 64}"\n')
        with pytest.raises(FetchError, match="is not the file of local"):
            load_body("local:a.b-c")
    path.unlink()
    (home / "registry.toml").write_text(row)
    with pytest.raises(FetchError, match="no such file"):
        load("local:a.b-c")


def test_entries_are_listed_with_the_others(server, home, tmp_path):
    assert "local:mine" not in tags()
    served(server, home, tmp_path)
    assert tags("local:*") == ["local:mine"]
    assert entry_of("local:mine").licence == "BSD-2-Clause"
    with pytest.raises(ModelFileError, match=r"no weights 'local:mime'.*local:mine"):
        load("local:mime")


ROW = '[[weights]]\ntag = "a"\naddress = "x.pth"\n'
SUM = "0" * 64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[weights", "is no TOML"),
        ("weights = 3", "two brackets"),
        ("weights = [3]", "an entry is a table"),
        ('[weights]\ntag = "a"', "two brackets"),
        ("[[other]]\nx = 1", "'other'"),
        ('[[weights]]\naddress = "x"', "has the tag 'None'"),
        ('[[weights]]\ntag = "../x"\naddress = "x"', r"\.\./x"),
        ('[[weights]]\ntag = "a"', "has no address"),
        (ROW + "adress = 3", "'adress', which no entry has"),
        (ROW + "licence = 3", "licence of a is a text"),
        (ROW + 'top1 = "good"', "top1 of a is a number"),
        (ROW + "levels = 0", "levels of a is a number above 0"),
        (ROW + 'network = "resnet51"', "network of a is 'resnet51'"),
        (ROW + 'auto = "resnet51"', "auto of a is 'resnet51'"),
        (ROW + "auto = 3", "auto of a is true, false"),
        (ROW + "image_size = 0", "image_size"),
        (ROW + 'image_size = "large"', "image_size"),
        (ROW + "image_size = 64\nresize_to = 32", "resize_to"),
        (ROW + 'channels = "RBG"', "channels"),
        (ROW + "mean = 3", "mean of a is a list of three"),
        (ROW + 'mean = ["a", "b", "c"]', "mean of a is a list of three"),
        (ROW + "mean = [104, 117, 123]", "mean"),
        (ROW + "std = [0, 0, 0]", "std"),
        (ROW + 'sha256 = "xyz"', "64 hexadecimal digits"),
        (ROW + 'files = "y.txt"', "files of a are a list"),
        (ROW + "files = [3]", "has no address"),
        (ROW + 'files = [{ address = "x.pth" }]', "side by side"),
        (ROW + 'files = [{ address = "elsewhere/y.txt" }]', "side by side"),
        (ROW + f'files = [{{ address = "http://h/y.txt", sha256 = "{SUM}" }}]', "side by side"),
        ('[[weights]]\ntag = "a"\naddress = "http://h/x.pth"', "needs the sha256"),
        (f'[[weights]]\ntag = "a"\naddress = "http://h/"\nsha256 = "{SUM}"', "name of a file"),
        (ROW + ROW, "stands there twice"),
        (ROW + "auto = true\n" + ROW.replace('"a"', '"b"') + "auto = true", "the same auto"),
        ("x" * 2**21, "bytes"),
        ("a.b." * 2_000, "TOML"),
    ],
)
def test_mistakes_are_said_in_one_sentence(home, text, says):
    (home / "registry.toml").write_text(text)
    for asked in (lambda: load("local:a"), lambda: auto(None)):
        with pytest.raises(ModelFileError, match=says) as caught:
            asked()
        assert str(home / "registry.toml") in str(caught.value)
        assert "\n" not in str(caught.value)


# What `auto` gives.


@pytest.mark.parametrize(
    ("network", "tag"),
    [
        ("resnet18", "torchvision:resnet18:IMAGENET1K_V1"),
        ("resnet50", "torchvision:resnet50:IMAGENET1K_V2"),
        ("resnet50d", "timm:resnet50d"),
        ("resnet20", None),
        ("preact_resnet18", None),
    ],
)
def test_which_of_ours_a_network_gets(network, tag):
    found = default_of(network)
    assert found == tag or (tag and found and found.startswith(tag))
    assert found is None or entry_of(found).network == network


def test_which_of_the_users_comes_first(home, tmp_path, capsys):
    path = write(model_of(WRITTEN["torchvision"][2]), tmp_path / "net.pth", "torchvision")[0]
    capsys.readouterr()
    row = f'[[weights]]\naddress = "{path}"\n'
    (home / "registry.toml").write_text(
        f'{row}tag = "all"\nauto = true\nnetwork = "resnet34"\n'
        f'{row}tag = "eighteen"\nauto = "resnet18"\n{row}tag = "no"\n'
    )
    assert auto(None) == "local:all"
    assert auto("resnet34") == "local:all"
    assert auto("resnet18") == "local:eighteen"
    assert said(capsys) == []
    assert auto("resnet50") is None  # ours, and no network in tests
    assert len(said(capsys)) == 1


def test_a_network_without_an_entry_is_said_in_one_line(home, capsys):
    assert auto("resnet20") is None
    (line,) = said(capsys)
    assert "from scratch" in line
    assert "none is known here for resnet20" in line
    assert "`weights`" in line


def test_offline_nobody_is_asked_and_what_is_there_is_taken(server, home, tmp_path, monkeypatch, capsys):
    served(server, home, tmp_path)
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    assert auto(None) is None
    (line,) = said(capsys)
    assert "needs more images and more time" in line
    assert "RESNETS_OFFLINE is set" in line
    assert f"put a copy of it at {home / 'weights' / 'local' / 'mine' / 'net.caffemodel'}" in line
    assert server.asked == []
    monkeypatch.delenv("RESNETS_OFFLINE")
    assert auto(None) == "local:mine"
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    assert auto(None) == "local:mine"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("plan", "requests"),
    [
        (["good"], 2),
        (["slow", "good"], 2),
        (["slow", "slow"], 2),
        (["cut", "good"], 3),
        (["cut", "503", "hang", "good"], 5),
        (["hang midway", "good"], 3),
    ],
    ids=str,
)
def test_a_server_that_gives_is_waited_for(server, home, tmp_path, capsys, monkeypatch, plan, requests):
    served(server, home, tmp_path)
    server.plan = plan
    if "slow" not in plan:
        monkeypatch.setattr("resnets.data.fetch.time.sleep", lambda _: None)
    assert auto(None) == "local:mine"
    assert len(server.asked) == requests
    assert said(capsys) == []
    load_body("local:mine")
    assert len(server.asked) == requests


@pytest.mark.parametrize(
    ("plan", "why", "requests"),
    [
        (["hang"], "silent", 1),
        (["403"], "403", 1),
        (["503"], "503", 1),
        (["404"], "404", 1),
        (["lie"], "another checksum", 1),
        (["good", "hang"], "silent", 2),
        (["cut"], "the connection ended", 5),
    ],
    ids=str,
)
def test_one_that_does_not_is_given_up_in_one_line(server, home, tmp_path, capsys, monkeypatch, plan, why, requests):
    served(server, home, tmp_path)
    server.plan = plan
    monkeypatch.setattr("resnets.data.fetch.time.sleep", lambda _: None)
    assert auto(None) is None
    assert len(server.asked) == requests
    (line,) = said(capsys)
    assert "from scratch" in line
    assert why in line
    server.plan = ["good"]  # and nothing is spoilt
    assert auto(None) == "local:mine"


def test_nobody_there(server, home, tmp_path, capsys):
    served(server, home, tmp_path, address='"http://127.0.0.1:9/net.caffemodel"')
    assert auto(None) is None
    (line,) = said(capsys)
    assert "refused" in line


@pytest.mark.parametrize("word", ["hang", "503"])
def test_a_hub_that_does_not_answer_is_asked_once(server, home, monkeypatch, capsys, word):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.plan = [word]
    assert auto("resnet50d") is None
    assert len(server.asked) == 1
    (line,) = said(capsys)
    assert "timm/resnet50d" in line


def test_a_cache_that_cannot_be_written(server, home, tmp_path, capsys):
    served(server, home, tmp_path)
    (home / "weights").write_text("a file in its place")
    assert auto(None) is None
    (line,) = said(capsys)
    assert "cannot be written" in line


def test_a_wrong_file_in_the_cache_is_not_taken(server, home, tmp_path, capsys):
    served(server, home, tmp_path)
    assert auto(None) == "local:mine"
    place = home / "weights" / "local" / "mine" / "net.caffemodel"
    place.write_bytes(b"other")
    assert auto(None) is None
    (line,) = said(capsys)
    assert f"{place} is not the file" in line
    assert "remove or replace it" in line


def test_a_user_without_a_home_trains_from_scratch(monkeypatch, capsys):
    def nobody(path: Path) -> Path:
        raise RuntimeError

    monkeypatch.delenv("RESNETS_HOME")
    monkeypatch.setattr(Path, "expanduser", nobody)
    assert auto(None) is None
    (line,) = said(capsys)
    assert "set RESNETS_HOME" in line
