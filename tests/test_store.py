"""What lies in the cache: listed, removed, and kept within a limit and an age."""

import json
import os
import time

import numpy as np
import pytest

from resnets import store
from resnets.cli.main import main
from resnets.data import cache
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.errors import ParameterError

DAY = 86_400


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RESNETS_CACHE_LIMIT", raising=False)
    return tmp_path / "home"


def put(house, name, count, days=0.0):
    path = house / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * count)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_everything_is_listed_the_largest_first(house):
    put(house, "cache/a.f32", 10)
    put(house, "weights/torchvision/r.pth", 300)
    put(house, "cache/.a.f32.00000000.part", 999)  # somebody is writing it
    put(house, "registry/own.toml", 5)  # what a user has put there
    found = store.kept()
    assert [(one.kind, one.path.name, one.bytes >= 10) for one in found] == [
        ("weights", "torchvision", True),
        ("cache", "a.f32", True),
    ]


@pytest.mark.parametrize(
    ("text", "count"), [("20GB", 20 * 2**30), ("1.5 MiB", 3 * 2**19), ("100", 100), ("2k", 2048), ("", store.LIMIT)]
)
def test_a_limit_is_read_as_people_write_it(monkeypatch, text, count):
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", text)
    assert store.limit() == count


def test_a_limit_that_is_no_size_is_said(monkeypatch, capsys):
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "a lot")
    with pytest.raises(ParameterError, match="a size like 20GB, not 'a lot'"):
        store.limit()
    assert main(["cache"]) == 2
    assert "a size like 20GB" in capsys.readouterr().err


def test_the_oldest_go_first_and_only_as_many_as_must(house, monkeypatch):
    old, older, new = (put(house, f"cache/{n}", 100, days) for n, days in (("old", 5), ("older", 9), ("new", 1)))
    other = put(house, "weights/w", 100, 50)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "350")
    assert store.make_room(10**30) == 0  # what is larger than the limit by itself moves nothing
    assert store.make_room(100) == 100
    assert [path.exists() for path in (old, older, new, other)] == [True, False, True, True]
    assert store.make_room(250) == 100
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_what_nobody_has_used_for_long_goes_too(house):
    ancient, fresh = put(house, "cache/ancient", 10, store.AGE + 1), put(house, "cache/fresh", 10, store.AGE - 1)
    assert store.make_room(1) == 10
    assert [path.exists() for path in (ancient, fresh)] == [False, True]


def test_what_is_used_again_is_young_again(house, photo_folder, monkeypatch):
    """Decoded pictures: read again, they are marked; over the limit, others go and these do not."""
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    source = open_source(photo_folder(images=6))
    first = cache.cached(source, source.samples, Preprocessing.evaluation(16))
    (path,) = (house / "cache").glob("*.u8")
    os.utime(path, (time.time() - 30 * DAY,) * 2)
    again = cache.cached(source, source.samples, Preprocessing.evaluation(16))
    assert again.reused
    assert np.array_equal(again.images, first.images)
    assert time.time() - path.stat().st_atime < DAY
    (one,) = store.kept(["cache"])
    assert one.what == f"{source.name}, 16 pixels"

    put(house, "cache/stale.f32", 5000, 3)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", str(path.stat().st_size + 12 * 24 * 24 * 3))
    cache.cached(source, source.samples, Preprocessing.evaluation(24))
    assert sorted(one.path.suffix for one in store.kept(["cache"])) == [".u8", ".u8"]
    assert path.exists()


def test_what_another_user_keeps_is_neither_read_nor_replaced(house, photo_folder, monkeypatch):
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    source = open_source(photo_folder(images=6))
    cache.cached(source, source.samples, Preprocessing.evaluation(16))
    (theirs,) = (house / "cache").glob("*.u8")
    before = theirs.read_bytes()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    found = cache.cached(source, source.samples, Preprocessing.evaluation(16))
    assert not found.reused
    assert theirs.read_bytes() == before
    assert theirs.with_name(f"{theirs.stem}.4242.u8").exists()


def test_looking_is_no_use_of_it_and_a_pipe_does_not_hang(house, photo_folder, monkeypatch):
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    source = open_source(photo_folder(images=6))
    cache.cached(source, source.samples, Preprocessing.evaluation(16))
    (path,) = (house / "cache").glob("*.u8")
    os.utime(path, (time.time() - 30 * DAY,) * 2)
    os.mkfifo(house / "cache" / "pipe.u8")
    found = {one.path.name: one for one in store.kept(["cache"])}
    assert found[path.name].what.endswith("16 pixels")
    assert path.stat().st_atime < time.time() - 29 * DAY
    assert "pipe.u8" in found


def test_what_is_another_users_is_not_removed_for_room(house, monkeypatch):
    theirs = put(house, "cache/theirs", 100, store.AGE + 9)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", "50")
    assert store.make_room(10) == 0
    assert theirs.exists()


def test_what_is_another_users_is_not_removed_by_name_either(house, monkeypatch, capsys):
    theirs = put(house, "cache/theirs.f32", 100)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert main(["cache", "--remove", "all"]) == 1
    assert theirs.exists()


def test_a_word_means_names_and_no_kind_by_a_part_of_it(house):
    """`--remove data`, of the pictures of a folder of that name, took every data set."""
    kept, gone = put(house, "datasets/cifar.zip", 10), put(house, "cache/data.f32", 10)
    assert main(["cache", "--remove", "data"]) == 0
    assert (kept.exists(), gone.exists()) == (True, False)


def test_a_download_that_was_stopped_long_ago_is_seen(house):
    put(house, "downloads/a.zip.part", 10, 1)
    put(house, "downloads/b.zip.part", 10)
    assert [one.path.name for one in store.kept()] == ["a.zip.part"]


def test_the_name_of_the_folder_is_nothing_to_remove(house, capsys):
    put(house, "cache/a.f32", 10)
    assert main(["cache", "--remove", "home"]) == 2
    assert (house / "cache/a.f32").exists()


def test_the_verb_shows_and_removes(house, capsys):
    put(house, "cache/a.f32", 2048, 40)
    put(house, "cache/b.f32", 1024)
    put(house, "weights/w", 4096)
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert "decoded pictures and features" in out
    assert f"7 KiB in {house}" in out
    assert main(["cache", "--all", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["bytes"], len(document["entries"])) == (7168, 3)
    assert main(["cache", "--remove", "all", "--older-than", "30"]) == 0
    assert capsys.readouterr().out == "1 file removed, 2 KiB\n"
    assert main(["cache", "--remove", "b.f3"]) == 0
    assert main(["cache", "--remove", "nothing like it"]) == 2
    assert "Nothing in the cache is called 'nothing like it'" in capsys.readouterr().err
    assert main(["cache", "--remove", "weights", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 4096
    assert store.kept() == []
    assert main(["cache"]) == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may delete anything")
def test_what_cannot_be_removed_is_said(house, capsys):
    path = put(house, "cache/a.f32", 10)
    path.parent.chmod(0o500)
    try:
        assert main(["cache", "--remove", "all"]) == 1
        assert "1 file could not be removed" in capsys.readouterr().err
    finally:
        path.parent.chmod(0o700)
