"""The one reader of zip archives: what it gives, and what it refuses before it takes memory."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from resnets.weights.formats.zip import members
from resnets.weights.open import open_file

TEXT = b"a residual network " * 100


def archive(compression: int = zipfile.ZIP_STORED, **files: bytes) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return bytearray(out.getvalue())


def directory(content: bytearray) -> int:
    """Where the directory's first entry begins."""
    return content.index(b"PK\x01\x02")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_what_was_put_in(compression: int) -> None:
    found = members(memoryview(archive(compression, a=TEXT, b=b"")))
    assert {name: bytes(member.unpacked(len(TEXT))) for name, member in found.items()} == {"a": TEXT, "b": b""}
    assert found["a"].packed == (compression != zipfile.ZIP_STORED)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_never_gives_more_than_is_asked_for(compression: int) -> None:
    (member,) = members(memoryview(archive(compression, a=TEXT))).values()
    with pytest.raises(ValueError, match="larger than that of any network"):
        member.unpacked(len(TEXT) - 1)


@pytest.mark.parametrize("promised", [len(TEXT) - 1, len(TEXT) + 1, 10])
def test_a_size_that_is_not_so_is_noticed(promised: int) -> None:
    content = archive(zipfile.ZIP_DEFLATED, a=TEXT)
    struct.pack_into("<L", content, directory(content) + 24, promised)
    (member,) = members(memoryview(content)).values()
    with pytest.raises(ValueError, match="checksum"):
        member.unpacked(2**20)


@pytest.mark.parametrize(("place", "value"), [(8, 1), (10, 12), (10, 99)], ids=["encrypted", "bzip2", "nothing known"])
def test_another_way_of_packing_is_refused(place: int, value: int) -> None:
    content = archive(zipfile.ZIP_DEFLATED, a=TEXT)
    struct.pack_into("<H", content, directory(content) + place, value)
    (member,) = members(memoryview(content)).values()
    with pytest.raises(ValueError, match="unusual way"):
        member.unpacked(2**20)


def test_bytes_that_do_not_unpack_are_damaged() -> None:
    content = archive(zipfile.ZIP_DEFLATED, a=TEXT)
    content[31] = 0xFF  # the first byte behind the member's head and its name
    (member,) = members(memoryview(content)).values()
    with pytest.raises(ValueError, match="damaged"):
        member.unpacked(2**20)


def test_no_more_members_than_are_allowed() -> None:
    content = memoryview(archive(a=TEXT, b=TEXT))
    assert len(members(content, 2)) == 2
    with pytest.raises(ValueError, match="more than 1 entries"):
        members(content, 1)


def test_a_checkpoint_is_no_archive_of_keras_because_it_holds_the_name_of_one(tmp_path: Path) -> None:
    name = torch.frombuffer(bytearray(b"model.weights.h5"), dtype=torch.uint8)
    torch.save({"conv.weight": torch.ones(2), "name": name}, tmp_path / "net.pth")
    assert open_file(tmp_path / "net.pth").container == "torch"
