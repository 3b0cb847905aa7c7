"""Archives that hang, lie, or are called oddly; and those that lie where nobody looks into them."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from resnets.cli.main import main
from resnets.data.open import open_source
from resnets.data.pack import pack
from resnets.errors import DataError, ImageError


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 9, 9)).save(file, "PNG")
    return file.getvalue()


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "headers",
    [
        [("cat/1.jpg", 0), ("._1.jpg", -512)],  # which leads back to itself, for ever
        [("cat/1.jpg", -2), ("dog/1.jpg", 0)],
        [("cat/1.jpg", -1), ("dog/1.jpg", 0)],
    ],
)
def test_a_tar_with_a_size_below_zero_is_damaged(tmp_path, headers):
    path = tmp_path / "a.tar"
    path.write_bytes(b"".join(header(*one) for one in headers) + bytes(1024))
    with pytest.raises(DataError, match="damaged or cut-off tar archive"):
        open_source(path)


def test_a_tar_whose_first_name_begins_like_a_zip(tmp_path):
    """PKLot is a data set."""
    with tarfile.open(tmp_path / "PKLot.tar", "w") as file:
        for place in ("PKLot/cat/1.png", "PKLot/dog/1.png"):
            info = tarfile.TarInfo(place)
            info.size = len(picture(1))
            file.addfile(info, io.BytesIO(picture(1)))
    assert [sample.label for sample in open_source(tmp_path / "PKLot.tar").samples] == ["cat", "dog"]


def test_an_entry_that_lies_behind_every_file_is_one_damaged_picture(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number, label in enumerate(("cat", "dog")):
            file.writestr(f"{label}/1.png", picture(number))
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\1\2")
    name, extra = struct.unpack_from("<HH", data, first + 28)
    struct.pack_into("<I", data, first + 42, 0xFFFFFFFF)
    struct.pack_into("<H", data, first + 30, extra + 12)
    data[first + 46 + name : first + 46 + name] = struct.pack("<HHQ", 1, 8, 2**63)
    end = data.index(b"PK\5\6")
    (size,) = struct.unpack_from("<I", data, end + 12)
    struct.pack_into("<I", data, end + 12, size + 12)
    path.write_bytes(data)
    source = open_source(path)
    assert source.read("dog/1.png") == picture(1)
    with pytest.raises(ImageError, match="damaged"):
        source.read("cat/1.png")


def test_a_zip_that_says_its_names_twice(tmp_path):
    """In a code page, and in Unicode beside it (Info-ZIP's extra field 0x7075), which Python 3.12 reads."""
    path, name = tmp_path / "a.zip", "кошка/1.png"
    with zipfile.ZipFile(path, "w") as file:
        for place in ("aaaaa/1.png", "dog/1.png"):
            file.writestr(place, picture(1))
    raw = name.encode("cp866")
    data = path.read_bytes().replace(b"aaaaa/1.png", raw)
    path.write_bytes(data)
    infos = zipfile.ZipFile(path).infolist()
    found = [info for info in infos if info.filename != "dog/1.png"]
    found[0].filename = name  # as newer versions of Python have it, with the name in `orig_filename` as it was
    from resnets.data.zipnames import zip_names

    names, page = zip_names(infos)
    assert (sorted(names), page) == (["dog/1.png", name], "")


@pytest.mark.parametrize("there", [("photos/bird.zip",), ("photos/val.tar.gz",)])
def test_an_archive_beside_the_class_folders_is_said(tmp_path, photo_folder, there, capsys):
    root = photo_folder(("cat", "dog"), 4)
    for place in there:
        (root.parent / place).write_bytes(b"PK")
    open_source(root)
    assert f"{Path(there[0]).name}: beside the class folders, and not looked into" in capsys.readouterr().err


def test_shards_are_never_written_into_the_data(photo_folder):
    root = photo_folder(("cat", "dog"), 4)
    with pytest.raises(DataError, match="would become a part of the data"):
        pack(open_source(root), root / "shards")
    assert not (root / "shards").exists()


def test_what_is_private_stays_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        for place in ("cat/1.png", "dog/1.png"):
            info = tarfile.TarInfo(place)
            info.size = len(picture(1))
            file.addfile(info, io.BytesIO(picture(1)))
    open_source(tmp_path / "a.tar.gz")
    (kept,) = (tmp_path / "home" / "unpacked").glob("*.tar")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_name_with_backquotes_is_no_parameter(tmp_path, capsys):
    """It stands in a sentence in which parameters become flags."""
    folder = tmp_path / "x" / "`data=[{[]}]`"
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"{number}.png").write_bytes(picture(number))
    assert main(["train", str(tmp_path / "x"), "--out", str(tmp_path / "run")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert os.path.isdir(folder)


def test_shards_of_a_table_may_lie_beside_it(photo_folder, tmp_path):
    """Its rows name its pictures: nothing else in the folder is read."""
    root = photo_folder(("cat", "dog"), 4)
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.jpg"))]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    assert pack(open_source(root / "labels.csv"), root / "shards").images == 8
