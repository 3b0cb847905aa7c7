"""Raw snappy, decoded: the compression that a block of a TensorFlow checkpoint may have.

A stream is its length, then elements: bytes to take over, or a copy of what was decoded before.
Format: github.com/google/snappy/blob/main/format_description.txt.
"""

from __future__ import annotations

from resnets.weights.formats.protobuf import varint

LARGEST_RATIO = 22  # a copy of 64 bytes takes three: no stream can grow by more
MAX_ELEMENTS = 500_000  # half a second; TensorFlow has only ever compressed directories, which take some thousand


def decompress(data: memoryview, most: int) -> bytearray:
    """The decoded bytes, at most `most` of them. Raises ValueError for what is no whole stream, or too large a one."""
    length, position = varint(data, 0)
    if length > min(most, LARGEST_RATIO * len(data)):
        raise ValueError(f"a compressed block claims to have {length:,} bytes")
    out = bytearray(length)
    elements_left = min(MAX_ELEMENTS, 100 + length // 2)  # who compresses makes elements of four bytes and more
    done = 0
    while position < len(data):
        tag = data[position]
        position += 1
        kind = tag & 3
        if kind == 0:
            count, extra = (tag >> 2) + 1, 0
            if count > 60:
                extra = count - 60
                count = int.from_bytes(data[position : position + extra], "little") + 1
            start = position + extra
            position = start + count
            piece: memoryview | bytes = data[start:position]
        else:
            extra = (0, 1, 2, 4)[kind]
            offset = int.from_bytes(data[position : position + extra], "little")
            position += extra
            if kind == 1:
                count, offset = (tag >> 2 & 7) + 4, offset | (tag >> 5) << 8
            else:
                count = (tag >> 2) + 1
            if not 0 < offset <= done:
                raise ValueError("a compressed block copies from where nothing is")
            pattern = bytes(out[done - offset : min(done, done - offset + count)])
            piece = pattern * -(-count // len(pattern))  # a copy may run into what it writes
        elements_left -= 1
        if elements_left < 0:
            raise ValueError("a compressed block is made of too many pieces")
        if position > len(data) or done + count > length:
            raise ValueError("a compressed block is cut off or damaged")
        out[done : done + count] = piece[:count]
        done += count
    if done != length:
        raise ValueError("a compressed block is cut off or damaged")
    return out
