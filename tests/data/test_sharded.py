"""Shards: what `resnets pack` writes, what of others is read, and that a training on them is the same to the bit."""

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading

import pytest
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.cli.main import main
from resnets.data import cache, webdataset
from resnets.data.open import open_source
from resnets.data.pack import pack
from resnets.data.preprocess import Preprocessing
from resnets.data.titles import titles_of
from resnets.errors import DataError, UnreadableError

TINY = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)


@pytest.fixture
def folder(photo_folder):
    return photo_folder(("cat", "dog", "eel"), 20, ("train", "val"), size=(32, 24))


@pytest.fixture
def shards(folder, tmp_path):
    pack(open_source(folder), tmp_path / "shards", 2**16)
    return tmp_path / "shards"


def told(source):
    """What a source has, whatever its keys."""
    return sorted((one.split, one.label, source.contents[one.key]) for one in source.samples)


def test_the_same_pictures_come_back(folder, shards):
    one, other = open_source(folder), open_source(shards)
    assert told(one) == told(other)
    assert one.fingerprint == other.fingerprint
    by_content = {one.contents[sample.key]: one.read(sample.key) for sample in one.samples}
    for sample in other.samples:
        assert other.read(sample.key) == by_content[other.contents[sample.key]]
        assert sample.size == len(other.read(sample.key))


def test_the_layout_is_that_of_webdataset(shards):
    index = json.loads((shards / "index.json").read_text())
    assert index["classes"] == ["cat", "dog", "eel"]
    assert sum(one["images"] for one in index["shards"]) == 120
    assert len(index["shards"]) > 2
    assert {one["split"] for one in index["shards"]} == {"train", "val"}
    with tarfile.open(shards / index["shards"][0]["name"]) as archive:
        names = archive.getnames()
        assert names[0].partition(".")[2:] == ("jpg",)
        assert names[1] == f"{names[0].partition('.')[0]}.cls"
        assert archive.extractfile(names[1]).read() in (b"0", b"1", b"2")
        Image.open(io.BytesIO(archive.extractfile(names[0]).read())).verify()


def test_equal_data_gives_equal_shards(folder, shards, tmp_path):
    pack(open_source(folder), tmp_path / "again", 2**16)
    assert [path.name for path in sorted(shards.iterdir())] == [p.name for p in sorted((tmp_path / "again").iterdir())]
    for path in shards.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_without_the_index_shards_are_listed(folder, shards):
    for path in shards.glob("*.json"):
        path.unlink()
    assert told(open_source(shards)) == told(open_source(folder))
    (shards / "classes.txt").unlink()
    assert {sample.label for sample in open_source(shards).samples} == {"0", "1", "2"}


def test_a_training_on_shards_is_the_same_to_the_bit(folder, shards, tmp_path):
    runs = [
        resnets.train(data, model=TINY, weights="none", epochs=1, image_size=16, out=tmp_path / name)
        for name, data in (("one", folder), ("other", shards))
    ]
    one, other = (resnets.load(run.run).network.state_dict() for run in runs)
    assert all(one[name].equal(other[name]) for name in one)


def tar(path, entries):
    with tarfile.open(path, "w") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def picture(shade):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("ending", ["cls", "txt", "json"])
def test_shards_of_others_are_read(tmp_path, ending, capsys):
    """A label as a number, a word, or in a document; a picture without one is left out and counted."""
    (tmp_path / "w").mkdir()
    for split in ("train", "val"):
        for number in range(2):
            label = {"cls": b"%d", "txt": b"kind %d\n", "json": b'{"label": %d, "x": [1]}'}[ending] % number
            entries = [(f"a/{number}.png", picture(number)), (f"a/{number}.{ending}", label)]
            tar(tmp_path / "w" / f"set-{split}-00000{number}.tar", [*entries, ("a/9.seg.png", picture(9))])
    source = open_source(tmp_path / "w")
    kind = "kind " if ending == "txt" else ""
    found = [(one.split, one.label) for one in source.samples]
    assert sorted(found) == [(split, f"{kind}{n}") for split in ("train", "val") for n in (0, 1)]
    assert "4 pictures" in " ".join(source.remarks)
    assert source.read(source.samples[0].key) == picture(0)
    one = open_source(tmp_path / "w" / "set-train-000001.tar")
    assert [sample.label for sample in one.samples] == [f"{kind}1"]


@pytest.fixture
def served(shards):
    """The shards on a web server of this machine; gives its address and the paths that were asked for."""
    asked = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(self.path)

    handler = functools.partial(Quiet, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
        server.shutdown()


def test_shards_on_a_server(served, shards, folder, monkeypatch, tmp_path):
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    address, asked = served
    source = open_source(address)
    assert told(source) == told(open_source(folder))
    assert not any(path.endswith(".tar") for path in asked)  # the index alone, so far
    for sample in source.samples:
        source.read(sample.key)
    count = len(list(shards.glob("*.tar")))
    assert sum(path.endswith(".tar") for path in asked) == count
    source.read(source.samples[0].key)
    assert sum(path.endswith(".tar") for path in asked) == count  # each once


def test_shards_on_a_server_stay_within_the_limit(served, monkeypatch, tmp_path):
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    address, _ = served
    source = open_source(address)
    largest = max(shard.bytes for shard in source._shards)
    monkeypatch.setenv("RESNETS_CACHE_LIMIT", str(2 * largest))
    for sample in source.samples:
        assert len(source.read(sample.key)) == sample.size
        kept = [path.stat().st_size for path in (tmp_path / "home" / "cache").glob("*.tar")]
        assert sum(kept) <= 2 * largest


def test_a_damaged_picture_is_named(shards):
    source = open_source(shards)
    sample = source.samples[0]
    place = source._places[sample.key]
    path = shards / source._shards[place.shard].name
    data = bytearray(path.read_bytes())
    data[place.offset + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="damaged: its bytes are not those that the index knows"):
        source.read(sample.key)


def changed(document, **values):
    return {**document, "shards": [{**document["shards"][0], **values}, *document["shards"][1:]]}


@pytest.mark.parametrize(
    "change",
    [
        lambda index: {},
        lambda index: [],
        lambda index: {**index, "classes": ["cat"]},
        lambda index: changed(index, name="../../etc/passwd"),
        lambda index: changed(index, index="/etc/passwd"),
        lambda index: changed(index, index_sha256="0" * 64),
        lambda index: changed(index, bytes=10),
        lambda index: changed(index, split="other"),
        lambda index: changed(index, bytes="many"),
        lambda index: changed(index, bytes=10**30),
        lambda index: changed(index, images="x" * 1000),
        lambda index: changed(index, images=3),
        lambda index: changed(index, name=index["shards"][1]["name"]),
    ],
)
def test_an_index_of_a_stranger_is_not_trusted(shards, change):
    index = json.loads((shards / "index.json").read_text())
    (shards / "index.json").write_text(json.dumps(change(index)))
    with pytest.raises(DataError, match=r"The index of .* is damaged \(.*\): pack it again\."):
        open_source(shards)


@pytest.mark.parametrize("column", ["labels", "offsets", "sizes", "digests"])
@pytest.mark.parametrize("value", [1.0, -1, 10**30, "x", None])
def test_rows_of_a_stranger_are_not_trusted(shards, column, value):
    index = json.loads((shards / "index.json").read_text())
    entry = index["shards"][0]
    rows = json.loads((shards / entry["index"]).read_text())
    rows[column][0] = value
    text = json.dumps(rows)
    (shards / entry["index"]).write_text(text)
    entry["index_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (shards / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"The index of .* is damaged"):
        open_source(shards)


def test_shards_that_were_not_packed_to_the_end_are_no_data(shards):
    (shards / "index.json").unlink()
    with pytest.raises(DataError, match="was not packed to the end, pack it again"):
        open_source(shards)


def test_damage_does_not_outlast_the_mend(shards, folder, monkeypatch):
    """What could not be read is tried again, and good data elsewhere is not left out for it."""
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    source = open_source(shards)
    place = source._places[source.samples[0].key]
    path = shards / source._shards[place.shard].name
    good = path.read_bytes()
    path.write_bytes(good[: place.offset + 5] + bytes([good[place.offset + 5] ^ 1]) + good[place.offset + 6 :])
    preprocessing = Preprocessing.evaluation(16)
    assert len(cache.cached(open_source(shards), source.samples, preprocessing).skipped) == 1
    path.write_bytes(good)
    for data in (shards, folder):
        opened = open_source(data)
        assert cache.cached(opened, opened.samples, preprocessing).skipped == ()


def test_titles_come_along(folder, tmp_path):
    (folder / "classes.txt").write_text("cat Felis catus\ndog Canis familiaris\neel Anguilla anguilla\n")
    pack(open_source(folder), tmp_path / "titled")
    one, other = (titles_of(open_source(data), ["cat", "dog", "eel"])[0] for data in (folder, tmp_path / "titled"))
    assert one == other
    assert one["cat"] == "Felis catus"


def test_an_index_of_others_is_none(folder, tmp_path):
    (tmp_path / "w").mkdir()
    entries = [(f"{n}.{end}", data) for n in (0, 1) for end, data in (("png", picture(n)), ("cls", b"%d" % n))]
    tar(tmp_path / "w" / "a-000000.tar", entries)
    (tmp_path / "w" / "index.json").write_text('{"__kind__": "wids-shard-index-v1", "shardlist": []}')
    assert len(open_source(tmp_path / "w").samples) == 2
    (folder / "index.json").write_text("{}")
    (folder / "backup.tar").write_bytes(b"no tar at all")
    assert len(open_source(folder).samples) == 120


def test_a_mask_beside_a_picture_is_no_picture_of_its_own(tmp_path):
    entries = [
        ("0.seg.png", picture(9)),
        ("0.png", picture(0)),
        ("0.cls", b"0"),
        ("1.png", picture(1)),
        ("1.cls", b"1"),
    ]
    tar(tmp_path / "a-000000.tar", entries)
    source = open_source(tmp_path)
    assert [source.read(sample.key) for sample in source.samples] == [picture(0), picture(1)]
    assert "1 more pictures" in " ".join(source.remarks)


def test_classes_of_one_name_stay_two(tmp_path):
    entries = [(f"{n}.{end}", data) for n in (0, 1) for end, data in (("png", picture(n)), ("cls", b"%d" % n))]
    tar(tmp_path / "a-000000.tar", entries)
    (tmp_path / "classes.txt").write_text("crane\ncrane\n")
    assert len({sample.label for sample in open_source(tmp_path).samples}) == 2


def test_the_index_that_was_fetched_counts_where_the_server_is_gone(served, monkeypatch, tmp_path):
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    address, _ = served
    samples = open_source(address).samples
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    assert open_source(address).samples == samples
    assert open_source(address.replace("http", "HTTP")).samples == samples


def test_a_page_in_the_place_of_the_index_does_not_replace_it(served, shards, monkeypatch, tmp_path):
    """A proxy that asks for a password answers with a page."""
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    address, _ = served
    before = told(open_source(address))
    (shards / "index.json").write_text("<!doctype html><p>Who are you?</p>")
    assert told(open_source(address)) == before
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    assert told(open_source(address)) == before


def test_a_shard_that_was_cut_off_in_the_cache_is_fetched_again(served, monkeypatch, tmp_path):
    monkeypatch.delenv("RESNETS_OFFLINE")
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    address, _ = served
    source = open_source(address)
    data = source.read(source.samples[0].key)
    for path in (tmp_path / "home" / "cache").glob("*.tar"):
        path.write_bytes(path.read_bytes()[:1000])
    assert source.read(source.samples[0].key) == data
    for path in (tmp_path / "home" / "cache").glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    assert source.read(source.samples[0].key) == data


def test_an_index_of_a_newer_version_says_so(shards):
    (shards / "index.json").write_text(json.dumps({"format": 99, "classes": [], "shards": []}))
    with pytest.raises(DataError, match="is of a newer version: update resnets"):
        open_source(shards)


def test_a_folder_of_classes_stays_one_though_a_shard_lies_in_it(folder):
    tar(folder / "old.tar", [("1.png", picture(1)), ("1.cls", b"0")])
    assert {sample.label for sample in open_source(folder).samples} == {"cat", "dog", "eel"}
    assert webdataset.is_sharded(folder)


def test_the_verb(folder, tmp_path, capsys):
    (folder / "train" / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert main(["pack", str(folder), str(tmp_path / "out"), "--shard-size", "100kB", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 120
    assert document["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))
    assert main(["pack", str(folder), str(tmp_path / "out")]) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err
    assert main(["pack", str(folder), str(folder)]) == 2  # nothing of the user's is replaced
    assert main(["pack", str(folder), str(tmp_path / "out" / "index.json" / "x")]) == 2
    assert "cannot be a folder" in capsys.readouterr().err
    assert main(["pack", str(folder), str(tmp_path / "other"), "--shard-size", "huge"]) == 2
    assert main(["pack", str(folder), str(tmp_path / "other"), "--shard-size", "1"]) == 2
    assert not (tmp_path / "other").exists()
