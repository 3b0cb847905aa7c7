"""Protocol buffers, as far as reading and writing a message field by field goes.

TensorFlow's checkpoints and Caffe's models are protocol buffers. Both need a dozen fields of a schema that
has not changed for years, which is less than a generated schema with its library would bring in.
Format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(number, wire type, value) of every field: a view for BYTES, an unsigned integer for the others.

    Raises ValueError for a message that is cut off or no protocol buffer.
    """
    position = 0
    while position < len(message):
        key, position = varint(message, position)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == VARINT:
            value, position = varint(message, position)
        elif wire in (FIXED64, FIXED32):
            end = position + (8 if wire == FIXED64 else 4)
            if end > len(message):
                raise ValueError("a number is cut off")
            value, position = int.from_bytes(message[position:end], "little"), end
        elif wire == BYTES:
            length, position = varint(message, position)
            if length > len(message) - position:
                raise ValueError("a field is longer than its message")
            value, position = message[position : position + length], position + length
        else:
            raise ValueError(f"there is no wire type {wire}")
        yield number, wire, value


def message(value: int | bytes | memoryview) -> memoryview:
    """The value of a field that is a message in itself. Raises ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return memoryview(value)


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """(the unsigned 64-bit integer at `position`, the position behind it). Raises ValueError."""
    if position < len(data) and data[position] < 0x80:  # most are short, and directories have many
        return data[position], position + 1
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise ValueError("a number is longer than 64 bits")


def encoded(value: int) -> bytes:
    """An integer as a varint; a negative one as its 64-bit two's complement."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | str | bytes | memoryview) -> bytes:
    """One field: an integer as VARINT, text and bytes as BYTES (a message within a message is bytes)."""
    if isinstance(value, int):
        return encoded(number << 3 | VARINT) + encoded(value)
    data = value.encode() if isinstance(value, str) else bytes(value)
    return encoded(number << 3 | BYTES) + encoded(len(data)) + data
