"""Compressed archives and addresses: the same data as the folder, made or fetched once, and bounded."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resnets.cli.main import main
from resnets.data import unpack
from resnets.data.open import open_source
from resnets.data.reading import Reading
from resnets.errors import DataError, FetchError


def packed(folder: Path, kind: str) -> Path:
    path = folder.parent / f"set.{kind}"
    with tarfile.open(path, f"w:{kind.removeprefix('tar.')}") as archive:
        archive.add(folder, arcname=folder.name)
    return path


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("RESNETS_HOME", str(home))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    return home


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_compressed_archive_is_its_folder_and_is_unpacked_once(photo_folder, own, kind):
    photos = photo_folder()
    path = packed(photos, kind)
    source = open_source(path)
    assert source.fingerprint == open_source(photos).fingerprint
    assert source.name == str(path)
    [kept] = (own / "unpacked").glob("*.tar")
    made = kept.stat().st_mtime_ns
    assert open_source(path).fingerprint == source.fingerprint
    assert kept.stat().st_mtime_ns == made


@pytest.mark.parametrize("damage", [lambda data: bytes(len(data)), lambda data: data[:-2000], lambda data: b""])
def test_what_was_unpacked_is_checked_and_made_again(photo_folder, own, damage):
    path = packed(photo_folder(), "tar.gz")
    wanted = open_source(path).fingerprint
    [kept] = (own / "unpacked").glob("*.tar")
    kept.write_bytes(damage(kept.read_bytes()))
    assert open_source(path).fingerprint == wanted


def test_another_archive_at_the_same_place_is_unpacked_anew(photo_folder, own):
    path = packed(photo_folder(), "tar.gz")
    first = open_source(path).fingerprint
    photo_folder(("eel", "fox"), name="photos2")
    packed(path.parent / "photos2", "tar.gz")
    assert open_source(path).fingerprint != first


def test_what_is_no_archive_of_pictures_is_one_sentence(photo_folder, tmp_path, own, monkeypatch):
    text = tmp_path / "text.gz"
    text.write_bytes(gzip.compress(b"no tar" * 1000))
    with pytest.raises(DataError, match="what is in it is no tar archive"):
        open_source(text)
    text.write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match="nothing is in it"):
        open_source(text)
    whole = packed(photo_folder(), "tar.gz")
    whole.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"set\.tar\.gz is a damaged or cut-off archive"):
        open_source(whole)
    assert list((own / "unpacked").glob("*.tar")) == []


def test_a_bomb_is_stopped_before_the_disk_is_full(tmp_path, own, monkeypatch):
    monkeypatch.setattr(unpack, "ROOM", 2**20)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        info = tarfile.TarInfo("cat/1.jpg")
        info.size = 2**26
        archive.addfile(info, io.BytesIO(bytes(2**26)))
    bomb = tmp_path / "bomb.tgz"
    bomb.write_bytes(gzip.compress(plain.getvalue()))
    with pytest.raises(DataError, match="grows to over"):
        open_source(bomb)
    assert [path for path in (own / "unpacked").iterdir() if path.suffix != ".lock"] == []


@pytest.fixture
def server(tmp_path):
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *parts: object) -> None:
            asked.append(self.path)

    (tmp_path / "web").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()


def test_an_address_is_fetched_once(photo_folder, own, tmp_path, server, monkeypatch):
    address, asked = server
    photos = photo_folder()
    packed(photos, "tar.gz").rename(tmp_path / "web" / "my set.tar.gz")
    place = f"{address}/my%20set.tar.gz?version=3"
    assert open_source(place).fingerprint == open_source(photos).fingerprint
    count = len(asked)
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    assert open_source(place).fingerprint == open_source(photos).fingerprint
    assert len(asked) == count
    with pytest.raises(FetchError, match="RESNETS_OFFLINE is set"):
        open_source(f"{address}/other.zip")


@pytest.mark.parametrize("address", ["https://", "http:///a.zip", "https://example.org/photos", "https://a/labels.csv"])
def test_an_address_of_no_archive_is_one_sentence(own, address, capsys):
    assert main(["doctor", address]) == 2
    assert "is no address of an archive" in capsys.readouterr().err


def test_a_web_page_for_an_archive_is_said_and_not_kept(photo_folder, own, tmp_path, server):
    address, asked = server
    (tmp_path / "web" / "a.zip").write_text("<!doctype html><p>please log in</p>")
    with pytest.raises(DataError, match=r"a\.zip gives a web page, and no archive"):
        open_source(f"{address}/a.zip")
    (tmp_path / "web" / "a.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"damaged or cut-off zip .* it was fetched, and will be again the next time"):
        open_source(f"{address}/a.zip")
    photos = photo_folder()
    packed(photos, "tar").rename(tmp_path / "web" / "a.tar")
    with pytest.raises(DataError, match="no class folders 3 levels deep"):
        open_source(f"{address}/a.tar", reading=Reading(depth=3))
    count = len(asked)
    assert open_source(f"{address}/a.tar").fingerprint == open_source(photos).fingerprint
    assert len(asked) == count  # what was asked of it did not fit, and it is whole
    packed(photos, "tar").rename(tmp_path / "web" / "größer 1.tar")
    assert open_source(f"{address}/größer 1.tar").fingerprint == open_source(photos).fingerprint
    assert any("gr%C3%B6%C3%9Fer%201.tar" in path for path in asked)


@pytest.mark.parametrize(
    "address", ["https://[x/photos.zip", "https://exa mple.org/a.zip", "HTTPS://", "http://:80/a.zip"]
)
def test_an_address_that_is_none_is_one_sentence(own, address, capsys):
    assert main(["doctor", address]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
