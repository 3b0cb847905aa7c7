"""Checkpoints that would take memory or time, or read what is not theirs; most by a pickle written by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from test_torch_file import assert_equal, refusal, rezipped, saved

from resnets.weights.formats.torch_file import open_torch

TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuJ%btQJ%b(%bt(%bt\x89NtR"
)


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int = 6) -> bytes:
    def number(value: int) -> bytes:
        return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)

    parts = (struct.pack("<i", count), number(offset), b"".join(map(number, shape)), b"".join(map(number, strides)))
    return TENSOR.replace(b"J%b(", b"%b(") % parts


def crafted(path: Path, data: bytes) -> Path:
    return rezipped(saved(path, {"a": torch.arange(6.0)}), {"data.pkl": b"\x80\x02" + data})


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def test_the_crafted_tensor_is_sound(tmp_path: Path) -> None:
    path = crafted(tmp_path / "c.pth", b"}" + text("a") + tensor(1, (2, 2), (3, 1)) + b"s.")
    assert torch.load(path, weights_only=True)["a"].tolist() == [[1, 2], [4, 5]]
    assert open_torch(path).tensors["a"].read().tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "count"),
    [
        (1, (2, 3), (3, 1), 6),
        (7, (), (), 6),
        (6, (1,), (1,), 6),
        (-1, (2,), (1,), 6),
        (0, (-2,), (1,), 6),
        (5, (2,), (-1,), 6),
        (0, (2,), (2**62,), 6),
        (2**62, (1,), (1,), 6),
        (0, (2**40,), (0,), 6),
        (0, (2**16, 2**13), (0, 0), 6),  # 2 GB of the same number
        (0, (0, 2**62), (1, 1), 6),
        (0, (1,) * 9, (1,) * 9, 6),
        (0, (2, 3), (1,), 6),
        (0, (7,), (1,), 7),
        (0, (6,), (1,), 5),
        (0, (6,), (1,), -6),
    ],
)
def test_a_view_that_its_storage_does_not_hold(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int
) -> None:
    refusal(crafted(tmp_path / "c.pth", b"}" + text("a") + tensor(offset, shape, strides, count) + b"s."))


def test_forms_of_before_torch_0_4(tmp_path: Path) -> None:
    path, plain = tmp_path / "c.pth", tensor(0, (2, 3), (3, 1))
    forms = {
        "cuda": plain.replace(b"ctorch\nFloat", b"ctorch.cuda\nFloat"),
        "first": plain.replace(b"tensor_v2", b"tensor").replace(b"\x89NtR", b"tR"),
        "parameter": b"ctorch.nn.parameter\nParameter\n" + plain + b"\x85R(\x89\x89Ntb",
    }
    crafted(path, b"}(" + b"".join(text(name) + form for name, form in forms.items()) + b"u.")
    file = open_torch(path)
    assert list(file.tensors) == list(forms)
    assert all(stored.read().tolist() == [[0, 1, 2], [3, 4, 5]] for stored in file.tensors.values())


def test_a_storage_that_is_a_part_of_another(tmp_path: Path) -> None:
    def part(start: int, count: int, shape: int) -> Path:
        numbers = b"(" + text("key") + struct.pack("<cici", b"J", start, b"J", count) + b"t"
        whole = tensor(1, (shape,), (1,)).replace(b"J\x06\x00\x00\x00t", b"J\x06\x00\x00\x00" + numbers + b"t")
        return crafted(tmp_path / "c.pth", b"}" + text("a") + whole + b"s.")

    assert open_torch(part(2, 3, 2)).tensors["a"].read().tolist() == [3, 4]
    for start, count, shape in ((2, 3, 3), (4, 3, 1), (-1, 3, 1), (2, -1, 1)):
        refusal(part(start, count, shape))


def test_strides_of_single_elements_do_not_count(tmp_path: Path) -> None:
    path = crafted(tmp_path / "c.pth", b"}" + text("a") + tensor(0, (1, 6), (2**100, 1)) + b"s.")
    assert open_torch(path).tensors["a"].read().tolist() == [[0, 1, 2, 3, 4, 5]]


def laughs(depth: int, width: int) -> bytes:
    """A list of lists of lists, all of the same few; pickles of it are short."""
    layers = (b"]" + struct.pack("<cBc", b"q", i, b"0") for i in range(depth))
    filled = (
        b"".join(b"h" + bytes([i]) + b"h" + bytes([i + 1]) + b"a0" for _ in range(width)) for i in range(depth - 1)
    )
    return b"".join(layers) + b"".join(filled) + b"h\x00."


@pytest.mark.parametrize(
    "data",
    [
        b"}" * 600_000,
        b"(" * 600_000,
        b"cos\nsystem\n" * 600_000 + b".",
        b"]" + b"\x85" * 400_000 + b".",
        b"]" + b"\x94" * 400_000 + b".",
        b"]q\x00h\x00a.",
        b"\x8a\xff" + b"\xff" * 255 + b".",
        b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff.",
        b"]Nb.",
        laughs(30, 2),
        laughs(200, 5),
        laughs(18, 1000),
        b"]q\x00(" + b"]" * 300_000 + b"e.",
        b"}(" + b"".join(text(f"{i}") + b"]" for i in range(150_000)) + b"u.",
        b"}" + text("a") + b"}" + text("k" * 20_000_000) + b"q\x00}s(" + b"h\x00}" * 100_000 + b"us.",
    ],
)
def test_a_pickle_that_bursts(tmp_path: Path, data: bytes) -> None:
    refusal(crafted(tmp_path / "c.pth", data))


def test_a_pickle_that_goes_on_and_on(tmp_path: Path) -> None:
    assert "more than 500,000 steps" in refusal(crafted(tmp_path / "c.pth", b"N0" * 300_000 + b"]."))


@pytest.mark.parametrize(
    "data",
    [
        b"}(" + b"h\x00" * 3 + b"u.",
        b"X\xff\xff\xff\xff.",
        b"\x8d" + b"\xff" * 8 + b".",
        b"r\xff\xff\xff\xff.",
        b"\x85.",
        b"N\x86.",
        b"R.",
        b"t.",
        b"Q.",
        b"s.",
        b"NNa.",
        b"NNNs.",
        b"\x93.",
        b"]]\x93.",
        b"\x97.",
        b"\x82\x01.",
        b".",
        b"",
    ],
)
def test_a_pickle_that_is_damaged(tmp_path: Path, data: bytes) -> None:
    assert "its pickle is damaged" in refusal(crafted(tmp_path / "c.pth", data))


def test_one_storage_for_many_tensors(tmp_path: Path) -> None:
    numbers = torch.zeros(2**20)
    path = saved(tmp_path / "c.pth", {"a": numbers})
    assert_equal(path, {"a": numbers})
    wide = tensor(0, (2,), (2**20 - 1,), 2**20)  # eight bytes, for which four million are copied

    def repeated(count: int) -> Path:
        again = b"".join(text(f"{i}") + b"h\x07" for i in range(1, count))
        return rezipped(path, {"data.pkl": b"\x80\x02}(" + text("0") + wide + b"q\x07" + again + b"u."})

    assert len(open_torch(repeated(6)).tensors) == 6
    assert "out of proportion" in refusal(repeated(10_000))
    assert "more than 20,000 tensors" in refusal(repeated(90_000))


def with_copies(path: Path, like: bytes, count: int) -> Path:
    """The archive with `count` more entries in its directory, each for the bytes of an entry that it has."""
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    entries, size, start = struct.unpack_from("<H2L", content, end + 10)
    entry = content[content.index(b"PK\x01\x02", content.index(like, start) - 46) :][:46]
    copies = b"".join(entry[:28] + struct.pack("<3H", 6, 0, 0) + entry[34:] + b"%06d" % i for i in range(count))
    size, entries = size + len(copies), entries + count
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + size, 1)
    final = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(content[:end] + copies + end64 + locator + final)
    return path


def test_a_large_directory(tmp_path: Path) -> None:
    path = rezipped(saved(tmp_path / "c.pth", {"a": torch.zeros(10_000)}), {})
    content = path.read_bytes()
    assert_equal(with_copies(path, b"c/version", 60_000), {"a": torch.zeros(10_000)})
    path.write_bytes(content)
    assert "members" in refusal(with_copies(path, b"c/version", 200_000))
    path.write_bytes(content)
    assert "the same bytes twice" in refusal(with_copies(path, b"c/data/0", 1000))
