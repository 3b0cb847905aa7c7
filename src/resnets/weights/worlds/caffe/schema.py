"""The part of Caffe's schema (caffe.proto) that residual networks use, and the wire format of such messages.

A message is the tree that `prototxt` reads from text; here it is read from bytes and turned into them. Fields
that no network of ours has (solver, fillers, learning rates) are not in the tables and are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from resnets.weights.formats import protobuf
from resnets.weights.formats.prototxt import Message, Word

MAX_FIELDS = 150_000  # of one file, twice those of ResNet-1001; the numbers of a tensor are one
MAX_TEXT = 300  # characters of a name
MAX_LIST = 100  # bytes of a list of numbers that is packed into one field

Enumeration = tuple[str, ...]  # names by their numbers
Kind = type | Enumeration | Mapping[str, "tuple[int, Kind]"]  # str, int, float, bool, memoryview (raw), or a message
Schema = Mapping[str, tuple[int, Kind]]


def _fields(kind: Kind, **numbers: int) -> dict[str, tuple[int, Kind]]:
    return {name: (number, kind) for name, number in numbers.items()}


PHASE = ("TRAIN", "TEST")
SHAPE: Schema = _fields(int, dim=1)
BLOB: Schema = {
    **_fields(int, num=1, channels=2, height=3, width=4),
    **_fields(memoryview, data=5, double_data=8),
    **_fields(SHAPE, shape=7),
}
RULE: Schema = _fields(PHASE, phase=1)
BATCH_NORM: Schema = _fields(bool, use_global_stats=1) | _fields(float, eps=3)
CONVOLUTION: Schema = {
    **_fields(int, num_output=1, group=5, axis=16, kernel_size=4, stride=6, pad=3, dilation=18),
    **_fields(int, pad_h=9, pad_w=10, kernel_h=11, kernel_w=12, stride_h=13, stride_w=14),
    **_fields(bool, bias_term=2),
}
CROP: Schema = _fields(int, axis=1, offset=2)
ELTWISE: Schema = _fields(("PROD", "SUM", "MAX"), operation=1) | _fields(float, coeff=2)
INNER_PRODUCT: Schema = _fields(int, num_output=1, axis=5) | _fields(bool, bias_term=2, transpose=6)
INPUT: Schema = _fields(SHAPE, shape=1)
POOLING: Schema = {
    **_fields(("MAX", "AVE", "STOCHASTIC"), pool=1),
    **_fields(int, kernel_size=2, stride=3, pad=4),
    **_fields(int, kernel_h=5, kernel_w=6, stride_h=7, stride_w=8, pad_h=9, pad_w=10),
    **_fields(bool, global_pooling=12),
    **_fields(("CEIL", "FLOOR"), round_mode=13),
}
RELU: Schema = _fields(float, negative_slope=1)
SCALE: Schema = _fields(int, axis=1, num_axes=2) | _fields(bool, bias_term=4)
LAYER: Schema = {
    **_fields(str, name=1, type=2, bottom=3, top=4),
    **_fields(PHASE, phase=10),
    **_fields(RULE, include=8, exclude=9),
    **_fields(BLOB, blobs=7),
    **_fields(CONVOLUTION, convolution_param=106),
    **_fields(ELTWISE, eltwise_param=110),
    **_fields(INNER_PRODUCT, inner_product_param=117),
    **_fields(POOLING, pooling_param=121),
    **_fields(RELU, relu_param=123),
    **_fields(BATCH_NORM, batch_norm_param=139),
    **_fields(SCALE, scale_param=142),
    **_fields(INPUT, input_param=143),
    **_fields(CROP, crop_param=144),
}
# The types of the older form of a layer, by their numbers.
V1_TYPE = (
    *("NONE", "ACCURACY", "BNLL", "CONCAT", "CONVOLUTION", "DATA", "DROPOUT", "EUCLIDEAN_LOSS", "FLATTEN"),
    *("HDF5_DATA", "HDF5_OUTPUT", "IM2COL", "IMAGE_DATA", "INFOGAIN_LOSS", "INNER_PRODUCT", "LRN"),
    *("MULTINOMIAL_LOGISTIC_LOSS", "POOLING", "RELU", "SIGMOID", "SOFTMAX", "SOFTMAX_LOSS", "SPLIT", "TANH"),
    *("WINDOW_DATA", "ELTWISE", "POWER", "SIGMOID_CROSS_ENTROPY_LOSS", "HINGE_LOSS", "MEMORY_DATA", "ARGMAX"),
    *("THRESHOLD", "DUMMY_DATA", "SLICE", "MVN", "ABSVAL", "SILENCE", "CONTRASTIVE_LOSS", "EXP", "DECONVOLUTION"),
)
V1_LAYER: Schema = {
    **_fields(str, name=4, bottom=2, top=3),
    **_fields(V1_TYPE, type=5),
    **_fields(memoryview, layer=1),  # the form before that
    **_fields(RULE, include=32, exclude=33),
    **_fields(BLOB, blobs=6),
    **_fields(CONVOLUTION, convolution_param=10),
    **_fields(INNER_PRODUCT, inner_product_param=17),
    **_fields(POOLING, pooling_param=19),
    **_fields(ELTWISE, eltwise_param=24),
    **_fields(RELU, relu_param=30),
}
NET: Schema = {
    **_fields(str, name=1, input=3),
    **_fields(int, input_dim=4),
    **_fields(SHAPE, input_shape=8),
    **_fields(LAYER, layer=100),
    **_fields(V1_LAYER, layers=2),
}


def decoded(data: memoryview, schema: Schema) -> Message:
    """The tree of a message. Raises ValueError for bytes that are none, or have more fields than a network."""
    return _Decoder().message(data, schema)


def encoded(message: Mapping[str, Sequence[Any]], schema: Schema) -> bytes:
    """The bytes of a tree whose every field is in the schema; a blob's `data` stays with the caller."""
    return b"".join(_field(*schema[name], value) for name, values in message.items() for value in values)


class _Decoder:
    def __init__(self) -> None:
        self.left = MAX_FIELDS
        self.known: dict[int, dict[int, tuple[str, Kind]]] = {}  # by a schema's id: its fields by their numbers

    def message(self, data: memoryview, schema: Schema) -> Message:
        by_number = self.known.get(id(schema))
        if by_number is None:
            by_number = {number: (name, kind) for name, (number, kind) in schema.items()}
            self.known[id(schema)] = by_number
        message: Message = {}
        for number, wire, raw in protobuf.fields(data):
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"it has more than {MAX_FIELDS:,} fields, which no network has")
            if number in by_number:
                name, kind = by_number[number]
                try:
                    message.setdefault(name, []).extend(self.values(kind, wire, raw))
                except TypeError:
                    raise ValueError(f"its {name} is of the wrong type") from None
        return message

    def values(self, kind: Kind, wire: int, raw: int | memoryview) -> list[Any]:
        """What one field adds to the list of its values. Raises TypeError where the wire type is not the kind's."""
        if isinstance(raw, memoryview):
            if isinstance(kind, Mapping):
                return [self.message(raw, kind)]
            if kind is memoryview:
                return [raw]
            if kind is str:
                return [str(raw[:MAX_TEXT], "utf-8", "replace")]
            if len(raw) > MAX_LIST:
                raise TypeError
            return [_number(kind, value) for value in _packed(kind, raw)]
        if isinstance(kind, Mapping) or kind in (memoryview, str) or (wire == protobuf.FIXED32) != (kind is float):
            raise TypeError
        return [_number(kind, raw)]


def _packed(kind: Kind, raw: memoryview) -> list[int]:
    if kind is float:
        return list(struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4]))
    values, position = [], 0
    while position < len(raw):
        value, position = protobuf.varint(raw, position)
        values.append(value)
    return values


def _number(kind: Kind, raw: int) -> Any:
    if kind is float:
        return struct.unpack("<f", raw.to_bytes(4, "little"))[0]
    if isinstance(kind, tuple):
        return Word(kind[raw] if raw < len(kind) else raw)
    return bool(raw) if kind is bool else raw


def _field(number: int, kind: Kind, value: Any) -> bytes:
    if isinstance(kind, Mapping):
        return protobuf.field(number, encoded(value, kind))
    if kind is float:
        return protobuf.encoded(number << 3 | protobuf.FIXED32) + struct.pack("<f", value)
    if isinstance(kind, tuple):
        return protobuf.field(number, kind.index(value))
    return protobuf.field(number, value if kind is str else int(value))
