"""Pixels on disk with a checksum for each block of them, so that what is read is what was written."""

from __future__ import annotations

import math
import zlib
from io import BufferedReader

import numpy as np

CHECKED = 4 * 2**20  # bytes of pixels for each checksum; a checksum of 1 GB takes 0.4 s


class Checksums:
    """Those of blocks of CHECKED bytes, of pixels that come row by row."""

    def __init__(self) -> None:
        self._done: list[int] = []
        self._open, self._bytes = 0, 0

    def add(self, pixels: np.ndarray) -> None:
        """The next bytes, (N,) uint8."""
        while len(pixels):
            part, pixels = pixels[: CHECKED - self._bytes], pixels[CHECKED - self._bytes :]
            self._open, self._bytes = zlib.crc32(part.data, self._open), self._bytes + len(part)
            if self._bytes == CHECKED:
                self._done.append(self._open)
                self._open, self._bytes = 0, 0

    def all(self) -> list[int]:
        """One for each block, the last of which may be shorter."""
        return self._done + ([self._open] if self._bytes else [])


def read(file: BufferedReader, shape: tuple[int, ...], checksums: list[int], *, fits: bool) -> np.ndarray | None:
    """The pixels at the beginning of the file, uint8, each block compared with its checksum; None where one differs.

    fits    whether they may be read into memory. A file that is cut while it is mapped ends the process (SIGBUS), which
            no program can catch: mapped are only those that are too large otherwise, after all of them has been read
    """
    count = math.prod(shape)
    if len(checksums) != -(-count // CHECKED):
        return None
    pixels = np.empty(shape, np.uint8) if fits else None
    spare = np.empty(0 if fits else min(count, CHECKED), np.uint8)
    file.seek(0)
    for number, checksum in enumerate(checksums):
        here = number * CHECKED
        block = (spare if pixels is None else pixels.reshape(-1)[here:])[: min(CHECKED, count - here)]
        if file.readinto(block.data) != len(block) or zlib.crc32(block.data) != checksum:
            return None
    return np.memmap(file, np.uint8, mode="c", shape=shape) if pixels is None else pixels
