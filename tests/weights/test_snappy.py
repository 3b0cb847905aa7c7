"""The decoder of raw snappy: every kind of element, and everything that is none."""

from __future__ import annotations

import pytest

from resnets.weights.formats.protobuf import encoded
from resnets.weights.formats.snappy import decompress


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        (b"\x0a\x04ab\x01\x02\x0cwxyz", b"abababwxyz"),  # a copy over its own end
        (b"\x08\x0cabcd\x0e\x04\x00", b"abcdabcd"),
        (b"\x08\x0cabcd\x0f\x04\x00\x00\x00", b"abcdabcd"),
        (b"\x3d\xf0\x3c" + bytes(61), bytes(61)),
        (b"\x46\x00a\xfe\x01\x00\x12\x01\x00", b"a" * 70),
    ],
)
def test_snappy(packed: bytes, plain: bytes) -> None:
    assert decompress(memoryview(packed), 1000) == plain


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x05\x08abc",  # shorter than said
        b"\x02\x08abc",  # longer than said
        b"\x03\x08ab",
        b"\x08\x0cabcd\x0e\x04",
        b"\x08\x0cabcd\x0e\x00\x00",  # copies from nowhere
        b"\x08\x0cabcd\x0e\x05\x00",
        encoded(1001) + b"\x00a" + b"\xfe\x01\x00" * 15 + b"\x9e\x01\x00",  # 1,001 bytes, and whole
        encoded(2**40) + b"\x00a",
        encoded(400) + b"\0a" * 400,  # by single bytes
    ],
)
def test_snappy_refuses(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"compressed block|cut off"):
        decompress(memoryview(packed), 1000)
