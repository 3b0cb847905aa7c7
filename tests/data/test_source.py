"""Sources: layouts, archives read in place, damage, odd names, and reading from everywhere at once."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from resnets.data.labels import class_names
from resnets.data.open import open_source
from resnets.data.source import LARGEST, Source
from resnets.data.split import split
from resnets.errors import DataError, ImageError
from resnets.text import printable

FLAT = {"cat/1.jpg": b"one", "cat/2.jpg": b"two" * 999, "dog/1.jpg": b"three"}
SPLIT = {f"{split}/{key}": data for split in ("train", "val") for key, data in FLAT.items()}


def pack(kind: str, path: Path, files: dict[str, bytes]) -> Path:
    """Put ``files`` into a folder, a zip (stored or deflated) or a tar at ``path``."""
    if kind == "folder":
        for key, data in files.items():
            (path / key).parent.mkdir(parents=True, exist_ok=True)
            (path / key).write_bytes(data)
        return path
    path = path.with_name(f"{path.name}.{kind[:3]}")
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            for key, data in files.items():
                info = tarfile.TarInfo(key)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    else:
        method = zipfile.ZIP_DEFLATED if kind == "zip deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            for key, data in files.items():
                archive.writestr(key, data)
    return path


KINDS = ("folder", "zip stored", "zip deflated", "tar")


def keys(source: Source) -> list[tuple[str, str, str]]:
    return [(sample.key, sample.label, sample.split) for sample in source.samples]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_lists_and_reads_the_same(kind: str, tmp_path: Path) -> None:
    source = open_source(pack(kind, tmp_path / "set", SPLIT))
    assert {sample.key: source.read(sample.key) for sample in source.samples} == SPLIT
    assert [sample.size for sample in source.samples] == [len(SPLIT[key]) for key in sorted(SPLIT)]
    assert keys(source)[0] == ("train/cat/1.jpg", "cat", "train")
    assert keys(source)[-1] == ("val/dog/1.jpg", "dog", "val")
    assert source.name == str(tmp_path / "set") + ("" if kind == "folder" else f".{kind[:3]}")


@pytest.mark.parametrize("kind", KINDS)
def test_one_folder_around_the_layout_is_looked_through(kind: str, tmp_path: Path) -> None:
    files = {f"./imagenette2/{key}": data for key, data in SPLIT.items()}
    files |= {"imagenette2/noisy.csv": b"", "README.txt": b"hello"}
    source = open_source(pack(kind, tmp_path / "set", files))
    assert {(sample.label, sample.split) for sample in source.samples} == {
        (label, split) for label in ("cat", "dog") for split in ("train", "val")
    }
    assert source.read("imagenette2/val/dog/1.jpg") == b"three"


@pytest.mark.parametrize("kind", KINDS)
def test_clutter_is_ignored_and_every_other_file_is_a_candidate(kind: str, tmp_path: Path) -> None:
    clutter = (
        "cat/.DS_Store",
        "cat/Thumbs.db",
        ".git/x/y",
        "__MACOSX/cat/._1.jpg",
        "labels.csv",
        "cat/.x/1.jpg",
    )
    odd = {"cat/empty.jpg": b"", "cat/notes.txt": b"text", "dog/2020/may/3.jpg": b"nested"}
    source = open_source(pack(kind, tmp_path / "set", FLAT | odd | dict.fromkeys(clutter, b"clutter")))
    assert {sample.key for sample in source.samples} == set(FLAT | odd)
    assert ("dog/2020/may/3.jpg", "dog", "") in keys(source)
    assert source.read("cat/empty.jpg") == b""


@pytest.mark.parametrize(
    ("held_out", "split"),
    [("val", "val"), ("valid", "val"), ("Validation", "val"), ("test", "test"), ("testing", "test")],
)
def test_names_of_splits(held_out: str, split: str, tmp_path: Path) -> None:
    files = {key.replace("val/", f"{held_out}/"): data for key, data in SPLIT.items()}
    source = open_source(pack("folder", tmp_path / "set", files))
    assert {sample.split for sample in source.samples} == {"train", split}


def test_train_is_a_class_where_no_other_split_is(tmp_path: Path) -> None:
    source = open_source(pack("folder", tmp_path / "a", {"train/1.jpg": b"", "bus/1.jpg": b"", "bus/new/2.jpg": b""}))
    assert keys(source) == [
        ("bus/1.jpg", "bus", ""),
        ("bus/new/2.jpg", "bus", ""),
        ("train/1.jpg", "train", ""),
    ]


def test_a_test_folder_without_classes_does_not_count(tmp_path: Path) -> None:
    files = {f"train/{key}": data for key, data in FLAT.items()} | {"test/1.jpg": b"", "test/2.jpg": b""}
    source = open_source(pack("folder", tmp_path / "a", files))
    assert keys(source) == [(f"train/{key}", key[:3], "") for key in sorted(FLAT)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no files"),
        ({"1.jpg": b"", "2.jpg": b""}, r"one folder per class: photos/cat/1\.jpg"),
        ({"train/1.jpg": b"", "val/cat/1.jpg": b"", "val/dog/1.jpg": b""}, "no class folders in train/"),
        (SPLIT | {"valid/cat/1.jpg": b""}, "has both val/ and valid/"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_that_cannot_be_used_is_explained(
    kind: str, files: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=message):
        split(open_source(pack(kind, tmp_path / "set", files)))


@pytest.mark.parametrize("kind", ["zip stored", "tar"])
def test_two_entries_of_one_name_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"two entries named cat/1\.jpg"):
        open_source(pack(kind, tmp_path / "set", FLAT | {"./cat//1.jpg": b"other"}))


def test_entries_that_climb_out_are_only_names(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "1.jpg").write_bytes(b"secret")
    for kind in ("zip stored", "tar"):
        path = pack(kind, tmp_path / "set", FLAT | {"../secret/1.jpg": b"x", "/cat/abs.jpg": b"inside"})
        source = open_source(path)
        assert {sample.key for sample in source.samples} == {*FLAT, "cat/abs.jpg"}
        assert source.read("cat/abs.jpg") == b"inside"
        assert source.remarks == ('1 entry has a name with ".." and is left out: no name leads out of an archive.',), (
            "never in silence"
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.tar.gz", b"\x1f\x8b\x08rest", "damaged or cut-off archive"),
        ("set.tbz", b"BZh9rest", "damaged or cut-off archive"),
        ("set.txz", b"\xfd7zXZ\0", "damaged or cut-off archive"),
        ("set.tar.zst", b"\x28\xb5\x2f\xfdrest", r"unpack it with `unzstd .*set\.tar\.zst`"),
        ("set.7z", b"7z\xbc\xaf\x27\x1crest", r"unpack it with `7z x "),
        ("set.rar", b"Rar!\x1a\x07rest", r"unpack it with `unrar x "),
        ("set.zip", b"no zip", "damaged or cut-off zip"),
        ("set.zip", b"", "damaged or cut-off zip"),
        ("set.zip", b"PK\x03\x04" + bytes(50), "damaged or cut-off zip"),
        ("set.tar", b"no tar" * 200, "damaged or cut-off tar"),
        ("set.tar", b"", "damaged or cut-off tar"),
        ("cat.jpg", b"\xff\xd8\xff\xe0" * 300, "neither a folder nor"),
    ],
)
def test_files_that_are_no_archives(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / name)


def test_a_missing_path_suggests_the_nearest_name() -> None:
    with pytest.raises(DataError, match=r'no folder, archive, table or data set \'cifr10\'.*"cifar10"'):
        open_source("cifr10")


@pytest.mark.parametrize("kind", ["zip stored", "zip deflated", "tar"])
def test_every_cut_is_noticed_at_opening(kind: str, tmp_path: Path) -> None:
    path = pack(kind, tmp_path / "set", FLAT)
    whole = path.read_bytes()
    # A tar is padded with zeros to 10 KiB, which say nothing: only cuts before them are damage.
    end = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for size in {*range(0, end, 97), *range(0, end, 512), end - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="damaged or cut-off"):
            open_source(path)


def test_a_damaged_header_inside_a_tar_hides_no_files(tmp_path: Path) -> None:
    path = pack("tar", tmp_path / "set", FLAT)
    data = bytearray(path.read_bytes())
    data[data.index(b"dog/1.jpg")] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        open_source(path)


@pytest.mark.parametrize("kind", ["zip stored", "zip deflated"])
def test_a_flipped_byte_in_a_zip_costs_one_image(kind: str, tmp_path: Path) -> None:
    path = pack(kind, tmp_path / "set", FLAT)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("cat/2.jpg")
        at = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
    source = open_source(path)
    with pytest.raises(ImageError, match="damaged"):
        source.read("cat/2.jpg")
    assert source.read("cat/1.jpg") == b"one"


def rewrite(path: Path, key: str, field: int, form: str, value: int) -> None:
    """Change one field of the central directory's record of ``key``."""
    data = bytearray(path.read_bytes())
    at = data.rindex(key.encode()) - 46
    struct.pack_into(form, data, at + field, value)
    path.write_bytes(data)


def test_sizes_that_a_zip_claims_are_not_trusted(tmp_path: Path) -> None:
    path = pack("zip deflated", tmp_path / "set", FLAT)
    rewrite(path, "cat/1.jpg", 24, "<I", LARGEST + 1)  # unpacked
    rewrite(path, "dog/1.jpg", 24, "<I", 4)
    source = open_source(path)
    with pytest.raises(ImageError, match="larger than 256 MiB"):
        source.read("cat/1.jpg")
    with pytest.raises(ImageError, match="damaged"):
        source.read("dog/1.jpg")
    rewrite(path, "cat/2.jpg", 20, "<I", LARGEST + 1)  # packed
    with pytest.raises(ImageError, match="larger than 256 MiB"):
        open_source(path).read("cat/2.jpg")


def test_a_zip_bomb_stops_at_the_claimed_size(tmp_path: Path) -> None:
    path = pack("zip deflated", tmp_path / "set", FLAT | {"cat/bomb.jpg": bytes(50_000_000)})
    rewrite(path, "cat/bomb.jpg", 24, "<I", 1000)
    with pytest.raises(ImageError, match="checksum"):
        open_source(path).read("cat/bomb.jpg")


def test_a_huge_file_in_a_folder_is_refused(tmp_path: Path) -> None:
    folder = pack("folder", tmp_path / "set", FLAT)
    with open(folder / "cat" / "huge.jpg", "wb") as file:
        file.truncate(LARGEST + 1)  # sparse
    with pytest.raises(ImageError, match="larger than 256 MiB"):
        open_source(folder).read("cat/huge.jpg")


def test_encrypted_and_rarely_packed_zips_are_explained(tmp_path: Path) -> None:
    path = pack("zip stored", tmp_path / "set", FLAT)
    rewrite(path, "cat/1.jpg", 8, "<H", 1)
    with pytest.raises(DataError, match="is encrypted: unpack it"):
        open_source(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("cat/1.jpg", b"x")
    with pytest.raises(DataError, match="rare zip method 14"):
        open_source(path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_vanishes_later_is_an_image_error(kind: str, tmp_path: Path) -> None:
    path = pack(kind, tmp_path / "set", FLAT)
    source = open_source(path)
    (path / "cat/1.jpg").unlink() if path.is_dir() else path.unlink()
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        source.read("cat/1.jpg")


@pytest.mark.parametrize("kind", ["zip stored", "tar"])
def test_an_archive_changed_in_use_never_gives_other_bytes(kind: str, tmp_path: Path) -> None:
    path = pack(kind, tmp_path / "set", FLAT)
    source = open_source(path)
    pack(kind, tmp_path / "set", {key: data[::-1] for key, data in FLAT.items()})
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="changed while it was in use"):
        source.read("cat/1.jpg")


def test_links_in_folders(tmp_path: Path) -> None:
    elsewhere = pack("folder", tmp_path / "elsewhere", {"1.jpg": b"bird"})
    folder = pack("folder", tmp_path / "set", FLAT)
    (folder / "bird").symlink_to(elsewhere)
    (folder / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "cat" / "pipe.jpg")  # would block whoever opens it
    source = open_source(folder)
    assert {sample.key for sample in source.samples} == {*FLAT, "bird/1.jpg", "cat/gone.jpg", "cat/pipe.jpg"}
    with pytest.raises(ImageError, match="it is a pipe, not a file"):
        source.read("cat/pipe.jpg")
    assert source.read("bird/1.jpg") == b"bird"
    with pytest.raises(ImageError, match="No such file"):
        source.read("cat/gone.jpg")
    (folder / "cat" / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="leads back to a folder that it lies in"):
        open_source(folder)
    (folder / "cat" / "loop").unlink()
    (folder / "cat" / "self").symlink_to(folder / "cat" / "self")
    with pytest.raises(DataError, match="symbolic link to itself"):
        open_source(folder)


def test_links_in_tars(tmp_path: Path) -> None:
    path = pack("tar", tmp_path / "set", FLAT)
    links = (
        (tarfile.LNKTYPE, "dog/hard.jpg", "cat/2.jpg"),
        (tarfile.SYMTYPE, "dog/soft.jpg", "../cat/2.jpg"),
        (tarfile.SYMTYPE, "dog/gone.jpg", "../../etc/passwd"),
    )
    with tarfile.open(path, "a") as archive:
        for kind, name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    source = open_source(path)
    assert source.read("dog/hard.jpg") == source.read("dog/soft.jpg") == FLAT["cat/2.jpg"]
    with pytest.raises(ImageError, match="not in the archive"):
        source.read("dog/gone.jpg")


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_that_are_not_utf8_survive_and_can_be_shown(kind: str, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9/\xff 1\n.jpg")
    source = open_source(pack(kind, tmp_path / "set", FLAT | {odd: b"odd"}))
    assert source.read(odd) == b"odd"
    label = next(sample.label for sample in source.samples if sample.key == odd)
    assert printable(label) == r"caf\xe9"
    assert printable(odd) == r"caf\xe9/\xff 1\n.jpg"
    assert json.loads(json.dumps(odd)) == odd


def test_printable_disarms_the_terminal_and_keeps_letters() -> None:
    assert printable("naïve 猫/\x1b[31m.jpg") == r"naïve 猫/\x1b[31m.jpg"


def test_zip_names_from_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("XXXX/1.jpg", b"utf-8 without the flag")
        archive.writestr("dog_1.jpg", b"backslash")
    path.write_bytes(path.read_bytes().replace(b"XXXX", "kü".encode() + b"h").replace(b"dog_1", b"dog\\1"))
    source = open_source(path)
    assert keys(source) == [("dog/1.jpg", "dog", ""), ("küh/1.jpg", "küh", "")]
    assert source.read("küh/1.jpg") == b"utf-8 without the flag"


def read_all(source: Source) -> dict[str, bytes]:
    return {sample.key: source.read(sample.key) for sample in source.samples}


@pytest.mark.parametrize("kind", KINDS)
def test_threads_forks_and_unpickled_copies_read_at_once(kind: str, tmp_path: Path) -> None:
    files = {f"{label}/{n}.jpg": os.urandom(200 + 97 * n) for label in ("cat", "dog") for n in range(40)}
    source = open_source(pack(kind, tmp_path / "set", files))
    with ThreadPoolExecutor(8) as threads:
        assert all(result == files for result in threads.map(read_all, [source] * 16))
    assert read_all(pickle.loads(pickle.dumps(source))) == files
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        assert all(result == files for result in processes.map(read_all, [source] * 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside another library's threads
        child = os.fork()
    if child == 0:
        os._exit(0 if read_all(source) == files else 1)
    assert read_all(source) == files
    assert os.waitpid(child, 0)[1] == 0


def test_the_real_archives(shared_data: Path) -> None:
    cifar = open_source(shared_data / "cifar10.zip")
    assert len(cifar.samples) == 60_000
    assert len(class_names(cifar.samples)) == 10
    assert cifar.read(cifar.samples[0].key).startswith(b"\xff\xd8")
    imagenette = open_source(str(shared_data / "imagenette.zip"))
    counts = [sum(sample.split == split for sample in imagenette.samples) for split in ("train", "val")]
    assert counts == [9469, 3925]


# archives that are hostile, or come from elsewhere ------------------------------------------------------------


def header(name: str, kind: bytes, content: bytes) -> bytes:
    """A tar's header with what follows it."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def tar(path: Path, before: bytes) -> Path:
    """A good tar with other headers before its files."""
    files = b"".join(header(key, b"0", data) for key, data in FLAT.items())
    path.write_bytes(before + files + bytes(1024))
    return path


@pytest.mark.parametrize(
    ("kind", "content"), [(b"L", b"a\0"), (b"K", b"a\0"), (b"x", b"10 path=a\n"), (b"g", b"9 a=bcd\n\0")]
)
def test_headers_that_lie_in_each_other_are_refused(kind: bytes, content: bytes, tmp_path: Path) -> None:
    assert len(open_source(tar(tmp_path / "set.tar", header("a", b"g", b"11 foo=bar\n"))).samples) == 3
    with pytest.raises(DataError, match=r"The headers of .*set\.tar lie in each other without end: pack it again\."):
        open_source(tar(tmp_path / "set.tar", 3000 * header("a", kind, content)))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_header_that_claims_or_has_gigabytes_takes_no_memory(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size, info.type = 2**36, kind
    with pytest.raises(DataError, match=r"damaged or cut-off tar archive .a header is too large"):
        open_source(tar(tmp_path / "set.tar", info.tobuf(tarfile.GNU_FORMAT)))


def test_a_header_of_digits_is_not_searched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a number in a header has more than 64 digits"):
        open_source(tar(tmp_path / "set.tar", header("a", b"x", b"1" * 2**20)))


@pytest.mark.parametrize("kind", ["zip stored", "tar"])
def test_names_without_end_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"an entry whose name has 4,\d\d\d characters"):
        open_source(pack(kind, tmp_path / "set", FLAT | {"a/" * 2050 + "1.jpg": b""}))


@pytest.mark.parametrize("kind", ["zip stored", "zip deflated", "tar"])
def test_the_folder_of_a_run_in_an_archive_is_no_data(kind: str, tmp_path: Path) -> None:
    record = json.dumps({"asked": {"data": "digits"}, "network": "resnet18"}).encode()
    run = {"runs/a/run.json": record, "runs/a/curves.png": b"", "runs/b/run.json": b"{}", "runs/b/1.jpg": b""}
    source = open_source(pack(kind, tmp_path / "set", FLAT | run))
    assert class_names(source.samples) == ("cat", "dog", "runs")
    assert source.remarks == ("runs/a/ is the folder of a run: left out.",)
    with pytest.raises(DataError, match="is the folder of a run"):
        open_source(pack(kind, tmp_path / "set", FLAT | {"run.json": record}))


@pytest.mark.parametrize("kind", ["zip stored", "tar"])
def test_empty_folders_of_an_archive_are_said(kind: str, tmp_path: Path) -> None:
    path = pack(kind, tmp_path / "set", FLAT)
    if kind == "tar":
        with tarfile.open(path, "a") as archive:
            for name in ("emu", "cat"):
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("emu/", b"")
            archive.writestr("cat/", b"")
    assert open_source(path).remarks == ("emu/: without pictures, so no class is made of it.",)


FOREIGN = {
    "cp866": ("кошка/снимок 1.jpg", "Ёж/№ 2.jpg", "dog/3.jpg"),
    "cp932": ("猫/写真1.jpg", "いぬ/表.jpg", "カラス/1.jpg", "dog/1.jpg"),
    "gb2312": ("猫/照片1.jpg", "狗/二.jpg", "猫/1.jpg"),  # the last would be "è/1.jpg" in UTF-8
    "cp850": ("Möwe/Käfer 1.jpg", "Ærø/Øl.jpg", "São/1.jpg"),
    "cp437": ("┌x/1.jpg", "└y/2.jpg"),
}


@pytest.mark.parametrize("page", FOREIGN)
def test_names_in_a_code_page_are_read_and_said(page: str, tmp_path: Path) -> None:
    path, names = tmp_path / "set.zip", {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(FOREIGN[page]):
            names[name] = "ABCD"[number] * len(name.encode(page))
            archive.writestr(names[name], name.encode())
    data = path.read_bytes()
    for name, stand_in in names.items():
        data = data.replace(stand_in.encode(), name.encode(page))
    path.write_bytes(data)
    source = open_source(path)
    assert {sample.key: source.read(sample.key).decode() for sample in source.samples} == {name: name for name in names}
    assert source.remarks == (f"The names in {path} are not UTF-8, and read as {page}.",)
