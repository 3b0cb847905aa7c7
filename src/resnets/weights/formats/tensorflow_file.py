"""TensorFlow's checkpoints without TensorFlow: bundles (.index, .data-*), and the single files of its first years.

The format of bundles: tensorflow/core/protobuf/tensor_bundle.proto, and LevelDB's tables for the index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from resnets.regular import open_regular
from resnets.weights.formats.stored import Foreign, Stored, unusable
from resnets.weights.formats.table import Table, checksum
from resnets.weights.formats.tensorflow_pieces import (
    DTYPES,
    MAX_VARIABLES,
    Message,
    extents_of,
    joined,
    name_of,
    piece_key,
    piece_shape,
    shape_of,
)
from resnets.weights.formats.tensorflow_v1 import old_tensors

MAX_STATE_BYTES = 2**16  # of the text file "checkpoint"
LITTLE_ENDIAN = 0


def open_tensorflow(path: Path) -> Foreign:
    """Open a checkpoint by its prefix, any of its files, or the folder that it is in; checksums are verified.

    Tensors have their variables' names. What is not a number (text, the graph of objects) is left out.

    Raises ModelFileError for what is missing, damaged or cut off, and where google-crc32c is not installed.
    """
    with _answering(path):
        file = _table_of(path)
        table = Table(file)
        # Both formats say what they are under the empty key: a bundle its number of data files, the old one a message.
        if Message(table.first()).is_number(1):
            tensors, files = _bundle(file, table)
        else:
            tensors, files = _old(file)
    reads = {name: _answered(path, stored) for name, stored in tensors.items()}
    return Foreign(path, "tensorflow", reads, {}, files)


@contextmanager
def _answering(path: Path) -> Iterator[None]:
    """Whatever is wrong with the bytes becomes the error of readers."""
    try:
        yield
    except OSError as problem:
        name = Path(problem.filename or path).name
        raise unusable(path, f"{name} cannot be read ({problem.strerror or problem})") from problem
    except ValueError as problem:
        raise unusable(path, str(problem)) from problem


def _answered(path: Path, stored: Stored) -> Stored:
    def read() -> Tensor:
        with _answering(path):
            return stored.read()

    return Stored(stored.shape, stored.dtype, read)


def _table_of(path: Path) -> Path:
    """The index of the bundle that `path` belongs to, or the old single file that it is."""
    if path.is_dir():
        return _in_folder(path)
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name)
    index = path.with_name(f"{prefix}.index")
    if index.is_file():
        return index
    if path.name == prefix and path.is_file():
        return path
    raise ValueError(f"there is no {index.name} beside it, which says where its tensors are")


def _in_folder(folder: Path) -> Path:
    """What the text file "checkpoint" names as the latest one, else the only one that there is."""
    state = folder / "checkpoint"
    if state.is_file():
        with open_regular(state) as file:
            text = file.read(MAX_STATE_BYTES).decode(errors="replace")
        if latest := re.search(
            r'^model_checkpoint_path: *"(?:[^"\n]*[/\\])?([\w.+?=,@ -]{1,200})"', text, re.MULTILINE
        ):
            name = latest[1].replace("?????", "00000")  # of old checkpoints in several files
            for candidate in (folder / f"{name}.index", folder / name):
                if candidate.is_file():
                    return candidate
    found = sorted(entry for entry in folder.iterdir() if re.search(r"\.index$|\.ckpt(-\d+)?$", entry.name))
    if len(found) == 1 and found[0].is_file():
        return found[0]
    names = ", ".join(entry.name[:80] for entry in found[:3])
    raise ValueError(
        f"there are {len(found)} checkpoints in it ({names}); name one" if found else "no checkpoint is in it"
    )


def _old(file: Path) -> tuple[dict[str, Stored], tuple[Path, ...]]:
    files = [file]
    if part := re.fullmatch(r"(.+)-\d{5}-of-(\d{5})", file.name):
        files = [file.with_name(f"{part[1]}-{number:05d}-of-{part[2]}") for number in range(int(part[2]))]
    tensors: dict[str, Stored] = {}
    for one in files:
        tensors |= old_tensors(one, Table(one))
    return tensors, tuple(files)


def _bundle(index: Path, table: Table) -> tuple[dict[str, Stored], tuple[Path, ...]]:
    header, entries = Message(memoryview(b"")), {}
    for key, value in table.items():
        if key:
            entries[key] = Message(value)
        else:
            header = Message(value)
        if len(entries) > MAX_VARIABLES:
            raise ValueError(f"it has more than {MAX_VARIABLES:,} variables")
    if header.number(2) != LITTLE_ENDIAN:
        raise ValueError("it was written on a big-endian machine; write it again on another")
    count = header.number(1)
    used = {entry.number(3) for entry in entries.values() if not entry.parts(7)}
    if not all(0 <= number < count for number in used):
        raise ValueError(f"{index.name} speaks of data files that cannot be")
    shards = {number: index.with_name(f"{index.stem}.data-{number:05d}-of-{count:05d}") for number in sorted(used)}
    for number, shard in shards.items():
        if not shard.is_file():
            raise ValueError(f"{shard.name}, one of its {count} data files, is not beside it")
        _check_spans(shard, (entry for entry in entries.values() if entry.number(3) == number and not entry.parts(7)))

    tensors: dict[str, Stored] = {}
    for key, entry in entries.items():
        dtype = DTYPES.get(entry.number(1))
        if key.startswith(b"\0") or dtype is None:  # a piece of a variable, or no numbers
            continue
        name, shape = name_of(key), shape_of(entry.part(2), dtype)
        if not entry.parts(7):
            tensors[name] = _stored(shards[entry.number(3)], entry, shape, dtype)
            continue
        pieces = []
        for extents in map(extents_of, entry.parts(7)):
            piece = entries.get(piece_key(name, extents))
            if piece is None or piece.parts(7):
                raise ValueError(f"a piece of {name} is missing")
            pieces.append((extents, _stored(shards[piece.number(3)], piece, piece_shape(shape, extents), dtype)))
        tensors[name] = joined(shape, dtype, pieces)
    return tensors, (index, *shards.values())


def _check_spans(shard: Path, entries: Iterable[Message]) -> None:
    """Tensors that lie outside of the file, or on one another, would let a small file hold a lot."""
    free = 0
    for start, length in sorted((entry.number(4), entry.number(5)) for entry in entries):
        if start < free or length < 0:
            raise ValueError(f"tensors overlap in {shard.name}")
        free = start + length
    if free > shard.stat().st_size:
        raise ValueError(f"{shard.name} is cut off; copy it again")


def _stored(shard: Path, entry: Message, shape: tuple[int, ...], dtype: torch.dtype) -> Stored:
    start, length, crc = entry.number(4), entry.number(5), entry.number(6)
    if length != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor in {shard.name} has {length:,} bytes, which its shape {shape} contradicts")

    def read() -> Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        with open_regular(shard) as file:
            file.seek(start)
            file.readinto(data)
        if checksum(data) != crc:
            raise ValueError(f"{shard.name} is damaged: the checksum of a tensor is wrong; copy it again")
        return tensor

    return Stored(shape, dtype, read)
