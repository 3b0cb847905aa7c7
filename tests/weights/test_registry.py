"""Weights by their tags, from a local server that misbehaves."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from resnets.errors import FetchError, ModelFileError
from resnets.weights import load, registry
from resnets.weights.registry import Entry, entry_of, fetch_weights

CONTENT = bytes(range(256)) * 1200


class Server(ThreadingHTTPServer):
    """Gives `files`; the paths in `cut` are cut off in the middle, once; those in `moved` are elsewhere."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.moved: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []  # path, Range


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range")))
        if path in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[path])
            self.end_headers()
        elif path not in server.files:
            self.send_error(404)
        else:
            content = server.files[path]
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) // 2 if path in server.cut else len(content)
            server.cut.discard(path)
            self.wfile.write(content[start:end])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setattr("resnets.data.fetch.time.sleep", lambda _: None)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def serve(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Entry]:
    """Move a tag's file to the local server, with these bytes, and say the right checksum unless told another."""

    def move(tag: str, content: bytes, **changes: Any) -> Entry:
        entry = entry_of(tag)
        assert entry is not None
        path = "/" + entry.address.rpartition("/")[2]
        server.files[path] = content
        kind = "md5" if entry.md5 else "sha256"
        sums = {} if entry.member else {kind: hashlib.new(kind, content).hexdigest()[: len(getattr(entry, kind))]}
        entry = dataclasses.replace(entry, **{"address": server.url + path, **sums, **changes})
        monkeypatch.setattr(registry, "entry_of", lambda asked: entry if asked == tag else entry_of(asked))
        return entry

    return move


# Tags


@pytest.mark.parametrize(
    ("tag", "hint"),
    [
        ("torchvision:resnet50:IMAGENET1K_V3", '"torchvision:resnet50:IMAGENET1K_V2"'),
        ("timm:resnet5O", '"timm:resnet50"'),
        ("keras:resnet50_v2", '"keras:resnet50v2"'),
        ("hf:microsoft-resnet-50", '"hf:microsoft/resnet-50"'),
        ("hf:../../x", "pretrained.md"),
        ("slim:xyzzy", "pretrained.md"),
    ],
)
def test_an_unknown_tag_names_the_nearest(tag: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=f"no weights '{tag}'.*{hint}"):
        fetch_weights(tag, tmp_path)
    assert not any(tmp_path.iterdir())


def test_offline_says_the_address_and_where_to_put_the_file(tmp_path: Path) -> None:
    entry, path = entry_of("keras:resnet50"), tmp_path / "keras" / "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
    with pytest.raises(FetchError, match=f"{entry.address}.*RESNETS_OFFLINE is set.*put a copy of it at {path}"):
        fetch_weights("keras:resnet50", tmp_path)


# Single files


@pytest.mark.parametrize("tag", ["torchvision:resnet18:IMAGENET1K_V1", "keras:resnet50", "akamaster:resnet56"])
def test_a_file_arrives_once_even_over_a_cut_connection(
    server: Server, serve: Callable[..., Entry], tag: str, tmp_path: Path
) -> None:
    name = serve(tag, CONTENT).address.rpartition("/")[2]
    server.cut = {f"/{name}"}
    path = fetch_weights(tag, tmp_path)
    assert path == tmp_path / tag.partition(":")[0] / name
    assert path.read_bytes() == CONTENT
    assert fetch_weights(tag, tmp_path) == path
    assert server.asked == [(f"/{name}", None), (f"/{name}", f"bytes={len(CONTENT) // 2}-")]


@pytest.mark.parametrize(
    ("tag", "wrong"),
    [
        ("torchvision:resnet18:IMAGENET1K_V1", {"sha256": "0" * 64}),
        ("akamaster:resnet56", {"sha256": "01234567"}),
        ("keras:resnet50", {"md5": "0" * 32}),
    ],
)
def test_another_content_is_refused(
    serve: Callable[..., Entry], tag: str, wrong: dict[str, str], tmp_path: Path
) -> None:
    serve(tag, CONTENT, **wrong)
    with pytest.raises(FetchError, match="another checksum and was deleted"):
        fetch_weights(tag, tmp_path)
    assert all(path.name.endswith(".lock") for path in tmp_path.rglob("*") if path.is_file())


def test_redirects_are_followed_and_404_is_explained(
    server: Server, serve: Callable[..., Entry], tmp_path: Path
) -> None:
    path = "/" + serve("akamaster:resnet56", CONTENT).address.rpartition("/")[2]
    server.moved[path] = f"{server.url}/elsewhere"
    with pytest.raises(FetchError, match=r"the server answers 404.*put a copy of it at"):
        fetch_weights("akamaster:resnet56", tmp_path)
    server.files["/elsewhere"] = CONTENT
    assert fetch_weights("akamaster:resnet56", tmp_path).read_bytes() == CONTENT


def test_the_cache_is_in_the_home_of_everything(
    serve: Callable[..., Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path))
    serve("akamaster:resnet56", CONTENT)
    assert fetch_weights("akamaster:resnet56").parent == tmp_path / "weights" / "akamaster"


# Archives


SLIM = "slim:resnet_v1_50"
MEMBER = "resnet_v1_50.ckpt"


def tar_gz(*members: tuple[str, bytes | str], **kinds: Any) -> bytes:
    """An archive of files; a text as content makes a link to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", **kinds) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("name", [MEMBER, f"./{MEMBER}"])
def test_the_one_file_of_an_archive_is_unpacked_once(
    server: Server, serve: Callable[..., Entry], name: str, tmp_path: Path
) -> None:
    serve(SLIM, tar_gz(("train.graph", b"x" * 5000), (name, CONTENT), ("../escaped", b"!")))
    path = fetch_weights(SLIM, tmp_path / "cache")
    assert path == tmp_path / "cache" / "slim" / MEMBER
    assert path.read_bytes() == CONTENT
    assert fetch_weights(SLIM, tmp_path / "cache") == path
    assert len(server.asked) == 1
    assert [file.name for file in tmp_path.rglob("*") if file.is_file() and ".lock" not in file.name] == [MEMBER]


def bomb() -> bytes:
    """A header that asks for 3 GB of extended attributes."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 3 * 10**9
    return gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(20_000_000))


def promise_of_three_gigabytes() -> bytes:
    info = tarfile.TarInfo("train.graph")
    info.size = 3 * 10**9
    return gzip.compress(info.tobuf() + bytes(10_000))


def flipped() -> bytes:
    """A good archive whose checksum at the end is of something else."""
    data = bytearray(tar_gz((MEMBER, CONTENT)))
    data[-8] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: tar_gz((f"../{MEMBER}", CONTENT)), "is not in it"),
        (lambda: tar_gz((f"/{MEMBER}", CONTENT)), "is not in it"),
        (lambda: tar_gz((MEMBER, "/etc/hostname")), "is not one plain file"),
        (lambda: tar_gz((MEMBER, CONTENT), (MEMBER, CONTENT)), "is not one plain file"),
        (lambda: tar_gz((MEMBER, CONTENT))[:-500], "ended before"),
        (lambda: CONTENT, "Not a gzipped file"),
        (bomb, "absurd size"),
        (promise_of_three_gigabytes, "more than it should"),
        (flipped, "CRC check failed"),
    ],
)
def test_an_archive_in_another_form_is_refused(
    serve: Callable[..., Entry], make: Callable[[], bytes], why: str, tmp_path: Path
) -> None:
    serve(SLIM, make())
    with pytest.raises(ModelFileError, match=f"is not the archive that it should be.*{why}.*removed"):
        fetch_weights(SLIM, tmp_path / "cache")
    assert [file for file in tmp_path.rglob("*") if file.is_file() and ".lock" not in file.name] == []


def test_several_at_once_fetch_and_unpack_once(server: Server, serve: Callable[..., Entry], tmp_path: Path) -> None:
    serve(SLIM, tar_gz((MEMBER, CONTENT)))
    threads = [threading.Thread(target=fetch_weights, args=(SLIM, tmp_path)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "slim" / MEMBER).read_bytes() == CONTENT
    assert len(server.asked) == 1


# Through to a model


def test_a_tag_becomes_a_model_that_knows_where_it_comes_from(
    serve: Callable[..., Entry], shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path))
    real = (shared_data / "weights" / "resnet20-cifar10-akamaster.th").read_bytes()
    published = entry_of("akamaster:resnet20").sha256
    entry = serve("akamaster:resnet20", real, picture={"image_size": 40, "resize_to": 48})
    assert entry.sha256 == published  # the one in the registry is that of the real file
    model = load("akamaster:resnet20")
    assert (model.preprocessing.image_size, model.preprocessing.resize_to) == (40, 48)
    known = {"tag": "akamaster:resnet20", "licence": "BSD-2-Clause", "source": entry.address}
    assert model.provenance.pretrained == known
    assert sum(p.numel() for p in model.network.parameters()) == 269_722
