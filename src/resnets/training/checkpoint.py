"""The file of a checkpoint: a table and tensors, and what shows that they are what was written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError
from torch import Tensor

from resnets.errors import TrainingError
from resnets.text import printable
from resnets.weights.checked import LARGEST
from resnets.weights.formats.safetensors_file import header, opened, put, raw
from resnets.whole import whole


def write(path: Path, table: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint: whole, or the one before it stays.

    table       fit for JSON; tensors: contiguous, on the CPU

    Raises WriteError (an OSError) when the system does not take it.
    """
    with whole(path) as file:
        pour(file, table, tensors)


def pour(file: IO[bytes], table: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write what a checkpoint holds to an open file."""
    head = header({"state": json.dumps({**table, "crc32": _sum(tensors)})}, tensors)
    put(file, head + b" " * (-len(head) % 8), tensors)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(table, tensors) of a checkpoint. Raises TrainingError for one that is damaged, or is none."""
    try:
        with opened(path) as file:
            table = json.loads((file.metadata() or {})["state"])
            if not isinstance(table, dict):
                raise ValueError("it has no table of numbers")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (a file, no dictionary)
        wanted = table.pop("crc32", None)
        if wanted is not None and wanted != _sum(tensors):
            raise ValueError("its numbers are not what was written")
        # Earlier versions wrote no sum. With it, what is no number is what a training that went wrong has come to.
        if wanted is None and (odd := [name for name in sorted(tensors) if not _finite(tensors[name])]):
            raise ValueError(f"{printable(odd[0])[:60]} holds what is no number")
        return table, tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as problem:
        why = printable(str(problem))[:200]
        raise TrainingError(
            f"{printable(str(path))} cannot be read ({why}): start the run anew in another folder."
        ) from problem


def number(table: Mapping[str, Any], key: str, kind: type = int) -> Any:
    """A number of the table, 0 or more. Raises ValueError, which names it."""
    value = table[key]
    if type(value) not in (kind, int) or not 0 <= value < LARGEST:  # neither holds of what is no number
        raise ValueError(f"its {key} makes no sense")
    return value


def check(what: str, found: Tensor, wanted: Tensor) -> Tensor:
    """`found`, of the kind and shape of `wanted`. Raises ValueError, which names it."""
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        raise ValueError(f"{what} is {found.dtype} {tuple(found.shape)}")
    return found


def _sum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(raw(tensors[name]), zlib.crc32(name.encode("utf-8", "replace"), total))
    return total


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
