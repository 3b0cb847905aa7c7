"""Folders from a hub like Hugging Face's: two local servers, the hub itself and the host that keeps large files."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from resnets.errors import FetchError
from resnets.weights.registry import fetch_weights

CONFIG, EXTRA = b'{"model_type": "resnet"}', b'{"size": 224}'
WEIGHTS = bytes(range(256)) * 1200
REPOSITORY = "microsoft/resnet-50"
TOKEN = "hf_secret"


def commit_of(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


class Server(ThreadingHTTPServer):
    """`revisions`: the files of each revision; `storage`: the other server, which gives whatever the hub has."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.revisions: dict[str, dict[str, bytes]] = {}
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, Authorization
        self.ranges: list[str | None] = []
        self.wanted: str | None = None  # the Authorization that opens it
        self.silent = False  # a mirror that says nothing of commits and checksums
        self.renamed = ""  # the repository is called so now
        self.cut = False
        self.lie = False
        self.storage: Server


class Quiet(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def note(self) -> str | None:
        token = self.headers.get("Authorization")
        self.server.asked.append((self.command, self.path, token))
        return token

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class Hub(Quiet):
    def do_GET(self) -> None:
        server = self.server
        token = self.note()
        if server.wanted and token != server.wanted:
            return self.answer(401)
        if server.renamed and not self.path.startswith(f"/{server.renamed}/"):
            return self.answer(307, Location=f"/{server.renamed}/" + self.path.split("/", 3)[3])
        _, _, _, revision, name = self.path.strip("/").split("/")
        revision = urllib.parse.unquote(revision)
        content = server.revisions.get(revision, {}).get(name)
        if content is None:
            return self.answer(404)
        said = {} if server.silent else {"X_Repo_Commit": revision if len(revision) == 40 else commit_of(revision)}
        if len(content) > 1000:
            sha256 = hashlib.sha256(content).hexdigest()
            said |= {} if server.silent else {"X_Linked_Etag": f'"{sha256}"', "X_Linked_Size": str(len(content))}
            return self.answer(302, Location=f"{server.storage.url}/{sha256}?signature=x", ETag='"' + "f" * 40, **said)
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        said |= {} if server.silent else {"ETag": f'W/"{blob}"'}
        return self.answer(200, content[::-1] if server.lie else content, Content_Length=str(len(content)), **said)


class Storage(Quiet):
    def do_GET(self) -> None:
        server = self.server
        self.note()
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        body = server.revisions["all"][self.path[1:65]]
        said = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if asked else {}
        end = len(body) // 2 if server.cut else len(body)
        server.cut = False
        shown = body[start:end] if not server.lie else bytes(end - start)
        self.answer(206 if asked else 200, shown, Content_Length=str(len(body) - start), **said)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setattr("resnets.data.fetch.time.sleep", lambda _: None)
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(handler)) for handler in (Hub, Storage)]
        for server in servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        hub, hub.storage = servers
        monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
        publish(hub, "main", {"config.json": CONFIG, "preprocessor_config.json": EXTRA, "model.safetensors": WEIGHTS})
        yield hub


def publish(hub: Server, revision: str, files: dict[str, bytes]) -> None:
    hub.revisions[revision] = hub.revisions[commit_of(revision)] = files
    everything = hub.storage.revisions.setdefault("all", {})
    everything.update({hashlib.sha256(content).hexdigest(): content for content in files.values()})


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


@pytest.mark.parametrize(
    ("tag", "folder"),
    [
        ("hf:microsoft/resnet-50", "hf/microsoft--resnet-50/main"),
        ("hf:somebody/x@refs/pr/7", "hf/somebody--x/refs--pr--7"),
        ("timm:resnet50", "hf/timm--resnet50.a1_in1k/main"),
        ("timm:resnet50.some_new_one", "hf/timm--resnet50.some_new_one/main"),
    ],
)
def test_a_folder_arrives_and_nobody_is_asked_again(hub: Server, tag: str, folder: str, tmp_path: Path) -> None:
    publish(hub, "refs/pr/7", hub.revisions["main"])
    path = fetch_weights(tag, tmp_path)
    assert path == tmp_path / folder
    assert files_in(path) == {"config.json", "preprocessor_config.json", "model.safetensors", "source.json"}
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert (path / "config.json").read_bytes() == CONFIG
    source = json.loads((path / "source.json").read_text())
    assert source["commit"] == commit_of(source["revision"])
    assert source["files"]["model.safetensors"] == {"size": len(WEIGHTS), "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    repository = path.parent.name.replace("--", "/")
    assert hub.asked[0][:2] == ("HEAD", f"/{repository}/resolve/{source['revision'].replace('/', '%2F')}/config.json")
    assert all(source["commit"] in path for _, path, _ in hub.asked[1:])
    asked = len(hub.asked)
    assert fetch_weights(tag, tmp_path) == path
    assert len(hub.asked) == asked


def test_a_cut_download_goes_on_with_the_same_commit(hub: Server, tmp_path: Path) -> None:
    hub.storage.cut = True
    hub.storage.lie = False
    fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    assert hub.storage.ranges == [None, f"bytes={len(WEIGHTS) // 2}-"]

    folder = tmp_path / "hf" / "microsoft--resnet-50" / "main"
    (folder / "model.safetensors").rename(folder / "model.safetensors.part")
    hub.revisions["main"] = {"config.json": b"{}", "model.safetensors": WEIGHTS[::-1]}  # somebody pushes meanwhile
    fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == CONFIG


def test_the_token_is_for_the_hub_alone(hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    hub.wanted = f"Bearer {TOKEN}"
    fetch_weights("hf:me/private", tmp_path)
    assert {token for *_, token in hub.asked} == {f"Bearer {TOKEN}"}
    assert [token for *_, token in hub.storage.asked] == [None]
    assert TOKEN not in (tmp_path / "hf" / "me--private" / "main" / "source.json").read_text()


@pytest.mark.parametrize("place", ["HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME"])
def test_a_login_with_hugging_faces_own_tools_opens_what_it_may(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    file = tmp_path / "huggingface" / "token"
    file.parent.mkdir()
    file.write_text(f"{TOKEN}\n")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv(place, str({"HF_HOME": file.parent, "HF_TOKEN_PATH": file, "XDG_CACHE_HOME": tmp_path}[place]))
    monkeypatch.setattr("resnets.weights.hub.HUB", hub.url)
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    hub.wanted = f"Bearer {TOKEN}"
    fetch_weights("hf:me/private", tmp_path)
    assert {token for *_, token in hub.asked} == {f"Bearer {TOKEN}"}
    assert [token for *_, token in hub.storage.asked] == [None]


@pytest.mark.parametrize("why", ["HF_TOKEN is set", "a mirror", "no text"])
def test_the_token_of_a_login_stays_where_it_is(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_bytes(b"\xff" if why == "no text" else TOKEN.encode())
    if why != "a mirror":
        monkeypatch.setattr("resnets.weights.hub.HUB", hub.url)
    if why == "HF_TOKEN is set":
        monkeypatch.setenv("HF_TOKEN", "another")
    fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    assert {token for *_, token in hub.asked} == {"Bearer another" if why == "HF_TOKEN is set" else None}


@pytest.mark.parametrize("kind", ["right", "damaged", "a folder"])
def test_weights_in_hugging_faces_cache_are_taken_if_they_are_right(hub: Server, tmp_path: Path, kind: str) -> None:
    blobs = tmp_path / "huggingface" / "hub" / "models--microsoft--resnet-50" / "blobs"
    blob = blobs / hashlib.sha256(WEIGHTS).hexdigest()
    (blob if kind == "a folder" else blobs).mkdir(parents=True)
    if kind != "a folder":
        blob.write_bytes(WEIGHTS if kind == "right" else WEIGHTS[:-1] + b"x")
    folder = fetch_weights(f"hf:{REPOSITORY}", tmp_path / "own")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(hub.storage.asked) == (kind != "right")
    assert files_in(folder) == {"config.json", "preprocessor_config.json", "model.safetensors", "source.json"}


def test_a_renamed_repository_is_found_with_the_token(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.wanted, hub.renamed = f"Bearer {TOKEN}", "me/new"
    assert (fetch_weights("hf:me/old", tmp_path) / "model.safetensors").read_bytes() == WEIGHTS
    assert {token for *_, token in hub.asked} == {f"Bearer {TOKEN}"}
    assert [token for *_, token in hub.storage.asked] == [None]


def test_a_repository_that_does_not_open(hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.wanted = "Bearer another"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(FetchError, match=r'401: there is no such.*HF_TOKEN.*"hf:microsoft/resnet-50"') as error:
        fetch_weights("hf:microsoft/resnet-51", tmp_path)
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "has no config.json in revision main"),
        ({"config.json": CONFIG}, "has neither model.safetensors nor pytorch_model.bin"),
    ],
)
def test_a_repository_without_a_model(hub: Server, files: dict[str, bytes], why: str, tmp_path: Path) -> None:
    publish(hub, "main", files)
    with pytest.raises(FetchError, match=why):
        fetch_weights(f"hf:{REPOSITORY}", tmp_path)


def test_older_repositories_have_another_file(hub: Server, tmp_path: Path) -> None:
    publish(hub, "main", {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS})
    folder = fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    assert files_in(folder) == {"config.json", "pytorch_model.bin", "source.json"}


@pytest.mark.parametrize("where", ["hub", "storage"])
def test_other_bytes_than_the_hub_promised_are_refused(hub: Server, where: str, tmp_path: Path) -> None:
    (hub if where == "hub" else hub.storage).lie = True
    with pytest.raises(FetchError, match="another checksum and was deleted"):
        fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    folder = tmp_path / "hf" / "microsoft--resnet-50" / "main"
    assert not (folder / ("config.json" if where == "hub" else "model.safetensors")).exists()


def test_a_mirror_may_say_nothing_of_what_it_has(hub: Server, tmp_path: Path) -> None:
    hub.silent = True
    folder = fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    source = json.loads((folder / "source.json").read_text())
    assert (source["commit"], source["files"]["model.safetensors"]) == ("main", {})


def test_offline_says_what_to_put_where_and_takes_it(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    folder = tmp_path / "hf" / "microsoft--resnet-50" / "main"
    wanted = f"{hub.url}/{REPOSITORY} .*RESNETS_OFFLINE is set.*config.json and model.safetensors into {folder}"
    with pytest.raises(FetchError, match=wanted):
        fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    (folder / "config.json").write_bytes(CONFIG)
    with pytest.raises(FetchError, match=wanted):
        fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    assert fetch_weights(f"hf:{REPOSITORY}", tmp_path) == folder
    assert hub.asked == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"commit": "main"}', '{"commit": "x", "files": {"config.json": 7}}'])
def test_a_damaged_record_is_explained(hub: Server, text: str, tmp_path: Path) -> None:
    folder = fetch_weights(f"hf:{REPOSITORY}", tmp_path)
    (folder / "source.json").write_text(text)
    with pytest.raises(FetchError, match=r"source.json is damaged: remove it"):
        fetch_weights(f"hf:{REPOSITORY}", tmp_path)


def test_a_hub_that_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "mirror")
    with pytest.raises(FetchError, match=r"HF_ENDPOINT is an address like https://huggingface.co, not 'mirror'"):
        fetch_weights(f"hf:{REPOSITORY}", tmp_path)
