"""The downloader against a real local HTTP server that behaves as badly as the network does."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from resnets.data import fetch as module
from resnets.data.fetch import fetch
from resnets.data.request import Redirects
from resnets.errors import FetchError

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes


class Handler(BaseHTTPRequestHandler):
    """Serves ``CONTENT``; each request takes the next word of ``server.plan``, the last one for ever."""

    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        word = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        content = server.content
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and word != "no range" else 0
        if word.isdecimal():
            self.send_error(int(word))
            return
        if word == "silent at once":
            server.released.wait(20)
            return
        if word == "wrong range":
            start = max(start - 7, 0)
        if start >= len(content) and asked:
            self.send_error(416)
            return
        body = content[start:]
        if word == "wrong bytes":
            body = body[:-1] + b"!"
        if word == "too much":
            body += bytes(10_000_000)
        if asked and self.headers.get("If-Range", server.version) != server.version:  # of another file: all of this one
            asked, body = None, content
        self.send_response(206 if asked and word != "no range" else 200)
        if server.version:
            self.send_header("ETag", server.version)
        if asked and word != "no range":
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if word != "too much":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if word == "cut":
            body = body[: len(body) // 2]
        if word == "silent midway":
            self.wfile.write(body[:20_000])
            server.released.wait(20)
            return
        if self.command == "HEAD":
            return
        server.sent += len(body)
        try:
            self.wfile.write(body)
        except ConnectionError:
            server.hung_up = True

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.version = ""
        self.plan = ["good"]
        self.ranges: list[str | None] = []
        self.sent = 0
        self.hung_up = False
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/set.bin"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def get(server: Server, path: Path, **changes: Any) -> Path:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return fetch(server.url, path, **{"sha256": sha256, "size": len(CONTENT), "pause": 0.01} | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "set.bin"


def part(path: Path) -> Path:
    return path.with_name("set.bin.part")


@pytest.mark.parametrize("changes", [{}, {"size": None}, {"sha256": None, "md5": hashlib.md5(CONTENT).hexdigest()}])
def test_a_file_arrives_once_and_leaves_no_part(server: Server, path: Path, changes: dict[str, Any]) -> None:
    assert get(server, path, **changes) == path
    assert path.read_bytes() == CONTENT
    assert not part(path).exists()
    get(server, path, **changes)
    assert server.ranges == [None]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_way_does_not_hang(server: Server, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in (path, part(path)):
        os.mkfifo(place)
        with pytest.raises(FetchError, match=f"{re.escape(str(place))} is no file: remove it"):
            get(server, path)
        place.unlink()
    lock = path.with_name(f".{path.name}.lock")
    lock.unlink()
    os.mkfifo(lock)
    assert get(server, path) == path


def test_cut_connections_are_resumed_where_they_ended(server: Server, path: Path) -> None:
    server.plan = ["cut", "cut", "good"]
    assert get(server, path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=153600-", "bytes=230400-"]
    assert server.sent == len(CONTENT)


def test_cuts_without_end_are_given_up_and_a_later_call_goes_on(server: Server, path: Path) -> None:
    server.plan = ["cut"]
    with pytest.raises(FetchError, match=rf"connection ended after \d+ of 307200 bytes.*put a copy of it at {path}"):
        get(server, path)
    assert len(server.ranges) == 1 + module.RETRIES
    assert not path.exists()
    kept = part(path).stat().st_size
    server.plan = ["good"]
    assert get(server, path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={kept}-"


def test_a_server_without_ranges_starts_anew(server: Server, path: Path) -> None:
    server.plan = ["cut", "no range"]
    assert get(server, path).read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_not_believed(server: Server, path: Path) -> None:
    server.plan = ["cut", "wrong range", "good"]
    assert get(server, path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=153600-", None]


@pytest.mark.parametrize("word", ["silent at once", "silent midway"])
def test_silence_is_given_up_and_said(server: Server, path: Path, word: str) -> None:
    server.plan = [word]
    with pytest.raises(FetchError, match=r"silent for 0\.1 s"):
        get(server, path, timeout=0.1)
    assert len(server.ranges) == 1 + module.RETRIES


def test_silence_may_pass(server: Server, path: Path) -> None:
    server.plan = ["silent midway", "good"]
    assert get(server, path, timeout=0.3).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=20000-"]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_wrong_bytes_are_deleted(server: Server, path: Path, size: int | None) -> None:
    server.plan = ["wrong bytes"]
    with pytest.raises(FetchError, match="another checksum and was deleted"):
        get(server, path, size=size)
    assert not path.exists()
    assert not part(path).exists()


def test_a_part_of_another_file_costs_one_more_download(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part(path).write_bytes(bytes(1000))
    assert get(server, path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("extra", [0, 5])
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_already_whole_or_too_long(server: Server, path: Path, extra: int, size: int | None) -> None:
    path.parent.mkdir()
    part(path).write_bytes(CONTENT + bytes(extra))
    assert get(server, path, size=size).read_bytes() == CONTENT


def test_more_than_the_size_is_never_written(server: Server, path: Path) -> None:
    server.plan = ["too much"]
    with pytest.raises(FetchError, match="larger than the 307200 bytes"):
        get(server, path)
    assert part(path).stat().st_size <= len(CONTENT)
    server.plan = ["good"]
    with pytest.raises(FetchError, match="307200 bytes there, and 1000 are right"):
        fetch(server.url, path.with_name("other"), sha256="0", size=1000)


def test_a_final_answer_is_not_asked_for_twice(server: Server, path: Path) -> None:
    server.plan = ["404"]
    with pytest.raises(FetchError, match="server answers 404"):
        get(server, path)
    assert server.ranges == [None]


def test_a_busy_server_is_asked_again(server: Server, path: Path) -> None:
    server.plan = ["503", "500", "good"]
    assert get(server, path).read_bytes() == CONTENT


def test_progress_forgives_earlier_failures(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEGABYTE", 500)
    server.plan = [*["cut"] * (module.RETRIES + 3), "good"]
    assert get(server, path).read_bytes() == CONTENT


def test_nobody_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    with pytest.raises(FetchError, match=f"could not be fetched.*refused.*put a copy of it at {path}"):
        fetch("http://127.0.0.1:9/set.bin", path, sha256="0")


def test_offline_is_obeyed_and_a_local_copy_is_checked(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    with pytest.raises(FetchError, match=f"RESNETS_OFFLINE is set.*put a copy of it at {path}"):
        get(server, path)
    path.write_bytes(CONTENT)
    assert get(server, path) == path
    path.write_bytes(b"something else")
    with pytest.raises(FetchError, match="remove or replace it"):
        get(server, path)
    assert path.read_bytes() == b"something else"
    assert server.ranges == []


def test_several_at_once_make_one_download(server: Server, path: Path) -> None:
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(get(server, path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_place_that_cannot_be_written_is_explained(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match=r"cannot be written.*set RESNETS_HOME"):
        get(server, tmp_path / "file" / "set.bin")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_only_http_is_fetched(url: str, path: Path) -> None:
    with pytest.raises(ValueError, match="http"):
        fetch(url, path, sha256="0")


def test_the_pauses_grow(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.plan = ["503"]
    with pytest.raises(FetchError):
        get(server, path, pause=1.0)
    assert pauses == [1, 2, 4, 8]


SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


@pytest.mark.parametrize("sums", [{"sha256": SHA256[:8]}, {"sha256": None, "git": GIT}])
def test_the_beginning_of_a_checksum_and_gits_name_of_a_file_are_checked(
    server: Server, path: Path, sums: dict[str, Any]
) -> None:
    get(server, path, **sums)
    server.plan = ["wrong bytes"]
    with pytest.raises(FetchError, match="another checksum"):
        get(server, path.with_name("another.bin"), **sums)
    path.write_bytes(CONTENT[1:])
    with pytest.raises(FetchError, match="remove or replace it"):
        get(server, path, **sums)


def test_a_file_without_a_checksum_must_be_asked_for_so_and_is_bounded(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"sha256": None, "size": None}
    with pytest.raises(ValueError, match="a checksum"):
        get(server, path, **nothing)
    assert get(server, path, **nothing, unchecked=True).read_bytes() == CONTENT
    monkeypatch.setattr(module, "LARGEST", 100_000)
    with pytest.raises(FetchError, match="larger than the 100000 bytes"):
        get(server, path.with_name("another.bin"), **nothing, unchecked=True)


@pytest.mark.parametrize("named", [True, False])
def test_what_nobody_else_checks_goes_on_with_the_same_version_alone(server: Server, path: Path, named: bool) -> None:
    """The head of one file and the tail of another made one, of the right length."""
    nothing: dict[str, Any] = {"sha256": None, "size": None, "unchecked": True}
    other = bytes(reversed(CONTENT))
    server.version = '"first"' if named else ""
    server.plan = ["cut", "404"]
    with pytest.raises(FetchError):
        get(server, path, **nothing)
    assert part(path).stat().st_size == len(CONTENT) // 2
    server.plan = ["good"]
    if named:
        assert get(server, path.with_name("other.bin"), **nothing).read_bytes() == CONTENT
    server.content, server.version = other, '"second"' if named else ""
    assert get(server, path, **nothing).read_bytes() == other
    assert sorted(one.suffix for one in path.parent.iterdir() if one.suffix in (".part", ".version")) == []


def test_the_same_version_goes_on_where_it_was_cut(server: Server, path: Path) -> None:
    nothing: dict[str, Any] = {"sha256": None, "size": None, "unchecked": True}
    server.version, server.plan = '"first"', ["cut", "404"]
    with pytest.raises(FetchError):
        get(server, path, **nothing)
    server.plan, server.sent = ["good"], 0
    assert get(server, path, **nothing).read_bytes() == CONTENT
    assert server.sent == len(CONTENT) // 2


def redirected(method: str, here: str, there: str) -> urllib.request.Request | None:
    request = urllib.request.Request(here, headers={"Authorization": "secret", "Range": "bytes=1-"}, method=method)
    return Redirects().redirect_request(request, None, 302, "Found", {}, there)


@pytest.mark.parametrize("there", ["https://b/x", "https://a:8443/x", "https://a.b/x", "https://a@b/x"])
def test_a_redirect_to_another_host_carries_no_token_and_no_question(there: str) -> None:
    new = redirected("GET", "https://a/x", there)
    assert not new.has_header("Authorization")
    assert new.get_header("Range") == "bytes=1-"
    assert redirected("HEAD", "https://a/x", there) is None


def test_a_redirect_on_the_same_host_carries_both() -> None:
    assert redirected("GET", "https://a/x", "https://a/y").get_header("Authorization") == "secret"
    assert redirected("HEAD", "https://a/x", "https://a/y").get_method() == "HEAD"


@pytest.mark.parametrize("there", ["http://a/x", "ftp://a/x"])
def test_a_redirect_never_leaves_https(there: str) -> None:
    with pytest.raises(urllib.error.URLError, match="it redirects from https to"):
        redirected("GET", "https://a/x", there)


def test_a_question_is_patient_and_brings_no_bytes(server: Server) -> None:
    server.plan = ["503", "429", "good"]
    status, headers = module.ask(server.url, FetchError, pause=0.01)
    assert (status, headers["Content-Length"], server.sent) == (200, str(len(CONTENT)), 0)
    server.plan = ["404"]
    assert module.ask(server.url, FetchError, pause=0.01)[0] == 404
    server.plan = ["503"]
    with pytest.raises(FetchError, match="the server answers 503"):
        module.ask(server.url, FetchError, pause=0.01)


# Briefly: nobody is waited for, and who answers is not given up.


@pytest.mark.parametrize(
    ("plan", "why"),
    [(["silent at once"], "the server was silent for 0.3 s"), (["503"], "503"), (["404"], "404")],
    ids=["silent", "busy", "gone"],
)
def test_who_gives_nothing_is_asked_once(server: Server, path: Path, plan: list[str], why: str) -> None:
    server.plan = plan
    with pytest.raises(FetchError, match=f"{why}.*put a copy of it at {path}"):
        get(server, path, brief=True, timeout=0.3)
    assert server.ranges == [None]


@pytest.mark.parametrize("plan", [["cut"] * 3, ["silent midway"] * 2, ["cut", "503"]], ids=str)
def test_who_has_begun_to_give_is_waited_for(server: Server, path: Path, plan: list[str]) -> None:
    server.plan = [*plan, "good"]
    assert get(server, path, brief=True, timeout=0.3).read_bytes() == CONTENT
    assert len(server.ranges) == len(plan) + 1


@pytest.mark.parametrize("word", ["silent at once", "503"])
def test_a_brief_question_is_asked_once(server: Server, word: str) -> None:
    server.plan = [word]
    with pytest.raises(FetchError, match=r"was silent|503"):
        module.ask(server.url, FetchError, brief=True, timeout=0.3)
    assert len(server.ranges) == 1


def test_a_part_of_an_earlier_call_is_no_answer(server: Server, path: Path) -> None:
    path.parent.mkdir(parents=True)
    part(path).write_bytes(CONTENT[:1000])
    server.plan = ["503"]
    with pytest.raises(FetchError, match="503"):
        get(server, path, brief=True)
    assert server.ranges == ["bytes=1000-"]
    server.plan = ["good"]
    assert get(server, path, brief=True).read_bytes() == CONTENT


def test_a_name_that_nobody_looks_up_does_not_hang(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver without a network may take half a minute, and no time limit of a socket reaches it."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: server.released.wait(20) and [])
    with pytest.raises(FetchError, match="was silent"):
        fetch("http://example.org/set.bin", path, sha256="0", brief=True, timeout=0.3)
