"""TensorFlow checkpoints made by hand, whole or broken on purpose, and two that TensorFlow itself made."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from resnets.weights.formats.protobuf import encoded, field, varint
from resnets.weights.formats.table import MAGIC, checksum

Entries = Sequence[tuple[bytes, bytes]]
FLOAT = 1


def table(blocks: Sequence[Entries], compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """A sorted table of data blocks with keys and values, snappy-packed by `compress` if given."""
    out, handles = bytearray(), []
    for entries in blocks:
        handles.append((entries[-1][0], appended(out, block(entries), compress)))
    return finished(out, block(handles))


def finished(out: bytearray, index: bytes) -> bytes:
    """A table of data blocks with its index block and footer."""
    handles = appended(out, block([])) + appended(out, index)
    return bytes(out) + handles.ljust(40, b"\0") + MAGIC


def block(entries: Entries) -> bytes:
    """Keys share what they can with the one before, except each fourth, as LevelDB's writer does each sixteenth."""
    out, starts, before = bytearray(), [0], b""
    for number, (key, value) in enumerate(entries):
        if number and number % 4 == 0:
            starts.append(len(out))
            before = b""
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key))
        )
        out += encoded(shared) + encoded(len(key) - shared) + encoded(len(value)) + key[shared:] + value
        before = key
    return bytes(out) + b"".join(number.to_bytes(4, "little") for number in (*starts, len(starts)))


def appended(out: bytearray, content: bytes, compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """Adds a block with its compression and checksum; returns where it is, as an index has it."""
    content = compress(content) + b"\1" if compress else content + b"\0"
    handle = encoded(len(out)) + encoded(len(content) - 1)
    out += content + checksum(content).to_bytes(4, "little")
    return handle


def blocks_of(content: bytes) -> tuple[bytes, list[bytes]]:
    """(the index block of an uncompressed table, its data blocks)."""
    footer, position = memoryview(content[-48:]), 0
    numbers = []
    for _ in range(4):
        number, position = varint(footer, position)
        numbers.append(number)
    index = content[numbers[2] : numbers[2] + numbers[3]]
    starts = [start for start, _ in sorted(_handles(index))]
    sizes = dict(_handles(index))
    return index, [content[start : start + sizes[start]] for start in starts]


def _handles(index: bytes) -> list[tuple[int, int]]:
    view, position, found = memoryview(index), 0, []
    end = len(index) - 4 * (int.from_bytes(index[-4:], "little") + 1)
    while position < end:
        _, position = varint(view, position)
        own, position = varint(view, position)
        length, position = varint(view, position)
        start, behind = varint(view, position + own)
        found.append((start, varint(view, behind)[0]))
        position += own + length
    return found


def retabled(content: bytes, mutate: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """A table with one damaged block, whose checksums agree with the damage; what is no table is only damaged."""
    if not content.endswith(MAGIC):
        return mutate(content)
    index, blocks = blocks_of(content)
    chosen = rng.randrange(-1, len(blocks))
    out, last = bytearray(), b"\xff"
    handles = []
    for number, data in enumerate(blocks):
        key = last if number == len(blocks) - 1 else first_key(blocks[number + 1])
        handles.append((key, appended(out, mutate(data) if number == chosen else data)))
    return finished(out, mutate(index) if chosen < 0 else block(handles))


def first_key(content: bytes) -> bytes:
    """The first key of a block, which is whole."""
    own, start = varint(memoryview(content), 1)
    _, start = varint(memoryview(content), start)
    return content[start : start + own]


def literals(data: bytes) -> bytes:
    """Snappy without any copy, in pieces of 1,000 bytes."""
    pieces = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    tagged = (bytes([61 << 2]) + (len(piece) - 1).to_bytes(2, "little") + piece for piece in pieces)
    return encoded(len(data)) + b"".join(tagged)


def shape(*sizes: int) -> bytes:
    """A TensorShapeProto."""
    return b"".join(field(2, field(1, size)) for size in sizes)


def bundle(
    tensors: Mapping[str, np.ndarray],
    shards: int = 1,
    compress: Callable[[bytes], bytes] | None = None,
    header: bytes = b"",
    changes: Mapping[str, Mapping[int, int]] = {},
) -> dict[str, bytes]:
    """The files of a bundle, suffix -> content, with float32 tensors dealt to the shards in turn.

    header: fields of the header that win; changes: name -> fields of its entry that win
    """
    data = [bytearray() for _ in range(shards)]
    entries = [(b"", field(1, shards) + header)]
    for number, name in enumerate(sorted(tensors)):
        shard, raw = data[number % shards], tensors[name].astype("<f4").tobytes()
        numbers = {1: FLOAT, 3: number % shards, 4: len(shard), 5: len(raw)} | dict(changes.get(name, {}))
        shard += raw
        entry = b"".join(field(key, value) for key, value in numbers.items())
        entry += field(2, shape(*tensors[name].shape)) + encoded(6 << 3 | 5) + checksum(raw).to_bytes(4, "little")
        entries.append((name.encode(), entry))
    files = {f".data-{number:05d}-of-{shards:05d}": bytes(content) for number, content in enumerate(data)}
    return {".index": table([entries[:2], *([entries[2:]] if entries[2:] else [])], compress), **files}


def old(
    tensors: Mapping[str, np.ndarray],
    compress: Callable[[bytes], bytes] | None = None,
    told: Mapping[str, Sequence[int]] = {},
) -> bytes:
    """A file of the first format with float32 tensors, each in a block of its own; `told` are shapes that win."""
    listed, blocks = b"", []
    for name in sorted(tensors):
        sizes = told.get(name, tensors[name].shape)
        whole = field(1, b"") * len(sizes)
        listed += field(1, field(1, name) + field(2, shape(*sizes)) + field(3, FLOAT) + field(4, whole))
        axes = bytes([1, len(sizes)]) + b"\x80\x7f" * len(sizes) if len(sizes) else b"\0"
        values = field(1, name) + field(2, whole) + field(3, field(5, tensors[name].astype("<f4").tobytes()))
        blocks.append([(b"\0" + name.encode() + b"\0\1" + axes, field(2, values))])
    return table([[(b"", field(1, listed))], *blocks], compress)


def unpacked(text: str) -> bytes:
    """Bytes that were packed for this file."""
    return zlib.decompress(base64.b85decode(text.replace("\n", "")))


# Written by TensorFlow 2.21: Saver(sharded=True) and Saver(write_version=V1) over variables on two devices, of which
# "cut" (7, 2) is in three pieces, and one holds text.
BY_TENSORFLOW = {
    ".index": unpacked(
        """c-muNVB=txV&Y(A;1Oj=E-hhTWMpb+ZfN3Q6ygwK;$Q}1CJ81D3DX0&ZN)iQ#G9Moa!e381qlrS(*S;<JwVx3Oj!+}>@tmTHU?$`
pz%;ic8H`E2N#n7GY~UbadEM5Fbgoj*{l#Y12=zqPJU8iPJD4mY5@nQ5ChOi3k?p_rq!Bp3>^G<sU`YJX@+JTd_pWBGc{ODU;O>f
$HFWK5)=jtGD|ROu$lhkF{x)|5;rzNavxAefeq-lm#6HafpTUhKv9q!BM1ZK<bW2L7W~`F!YrH#)W{4qj!D5mgU8h1q3cct7U7cA
iV~oISfJkZ(cm<-czVc}0SFjDgx5AD893*_r-d6B7@12M9x%bh-dUbn_LPa^6B9oJK@k4Cp<AWY{WbuxheMe"""
    ),
    ".data-00000-of-00003": unpacked("""c-lK)->?q=1%CoQ"""),
    ".data-00001-of-00003": unpacked("""c-mvIV>s}?nt_2~KLbO<J_ayoumckI3=9tTp<r;;9ssN?2?P"""),
    ".data-00002-of-00003": unpacked(
        """c-muN0D%U3AmIQ+K->Vt3xN0l5I+E721f=40U%ZYVgn#{0O9~gMvyij@gE3u7$Jr*GVQ;AyQ-qH5&#;O5Wx"""
    ),
}
OLD_BY_TENSORFLOW = unpacked(
    """c-n<fJxc>Y5S`t-B%AT;xS*UDgm5UqgrFuNg@s9MY()@DQHc@}6-)|2$eN&ye?of;E5Szd2hs>uf**guM!_P^Z7!FP#^K(uxASIp
-UE1Gc+W6{+D^4%3X_Wvfm_TG$PJCa9YkGd2KUc_&KV;(w0Cf{y>+m8QYjsqV1*sPaSR=nDs#IFIa8-eniX+40!F>-Oj<p{Rf#z|
m3qZoRu!2Gi+e?HV3|5Q12uP`OM&4O(AK~hmkn7rlb(p~;<lZzK!waxD$qxegzJLP<BdA?%yfGCB-&=e0B92Hg8)SUqe$$F0d}CD
9V6B}p+HzIve9UtFTlW@9B|4OYr%6#5o04!&n}X|WR0l4e<ah!eId`J)Y{)Hh^b6kiLDVY*)vr6<cWPEfsdZ(B}yc`kPqTiF6(#p
x!vi+v{+a1k`IJu%jyw#m3Ys2cNJ@KqTLO4%iZ;V)Y*MZC3*R_?Ef^sZtj3-3|hK>*W#z2&$@Wm$Kc=C_?1`F)s@#j0bzPV"""
)
IN_BOTH = {
    "cut": torch.arange(14, dtype=torch.float32).reshape(7, 2),
    "global_step": torch.tensor(2**40 + 1),
    "net/f16": torch.tensor([1.5, -2, 65504], dtype=torch.float16),
    "net/f32": torch.tensor([[-0.5, -0.25, 0], [0.25, 0.5, 0.75]]),
    "net/f64": torch.tensor([[1 / 3]], dtype=torch.float64),
    "net/i32": torch.tensor([-1, 300, -(2**31)], dtype=torch.int32),
}
