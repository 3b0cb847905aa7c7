"""Many pictures -> what they show, in their order, in bounded memory: decoding runs in parallel with the network.

Pictures are read and prepared on threads (Pillow and the turbo reader leave the interpreter alone meanwhile) while the
network, with all of torch's threads, works on the micro-batch before them. What waits in memory are prepared squares,
two micro-batches of them; as many pictures are open at full size as there are threads.
"""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from resnets.data import fast_decode
from resnets.data.decode import as_rgb
from resnets.data.preprocess import Preprocessing
from resnets.data.source import LARGEST, check_size, hidden, opened
from resnets.errors import ImageError
from resnets.machine import cores

if TYPE_CHECKING:
    from resnets.inference.predictor import Classifier, Prediction

Picture = str | Path | bytes | Image.Image | np.ndarray
P = TypeVar("P", bound=Picture)

BATCH = 16  # pictures that the network sees at once: from 8 on none of the engines gets any faster
STDIN = "-"  # in place of the path of a picture that came through standard input


def decoders() -> int:
    """How many threads prepare pictures: one for each core, beside the network's own."""
    return cores()


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one file.

    path     as it was named; bytes that are not UTF-8 are lone surrogates, as everywhere in Python
    top      (class name, probability) pairs, the most probable first; none if the file could not be used
    why      the reason if it could not, else ""
    among    the classes that it is one of, and
    unlike   whether it is unlike all that the model knows, both as in `Prediction`
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    why: str = ""
    among: tuple[str, ...] | None = None
    unlike: bool | None = None

    @property
    def unsure(self) -> bool | None:
        """As in `Prediction`."""
        return None if self.among is None else len(self.among) != 1


def predict_files(
    classifier: Classifier,
    files: Iterable[str | bytes],
    top: int = 5,
    *,
    batch_size: int = BATCH,
    fast: bool = False,
    threads: int | None = None,
) -> Iterator[Row]:
    """One `Row` for each file, in their order, as they come in; never stop at a bad one.

    files     paths; bytes are a picture itself, whose path is `STDIN`
    fast      read JPEG files by `data.fast_decode`
    threads   how many prepare pictures. Default: `decoders()`
    """
    for picture, result in predict_each(classifier, files, top, batch_size, fast, threads):
        path = STDIN if isinstance(picture, bytes) else picture
        if isinstance(result, ImageError):
            yield Row(path, (), str(result))
        else:
            yield Row(path, result.top, "", result.among, result.unlike)


def predict_each(
    classifier: Classifier,
    pictures: Iterable[P],
    top: int = 5,
    batch_size: int = BATCH,
    fast: bool = False,
    threads: int | None = None,
) -> Iterator[tuple[P, Prediction | ImageError]]:
    """(picture, what it shows) in their order, as it comes in: see `Classifier.predict_each` and `predict_files`."""
    if top < 1 or batch_size < 1:
        raise ValueError(f"top and batch_size are at least 1, not {top} and {batch_size}")
    read = fast_decode.read if fast else Preprocessing.read
    todo = iter(pictures)
    pool = ThreadPoolExecutor(threads or decoders())
    ahead: deque[tuple[P, Future[np.ndarray]]] = deque()

    def read_ahead() -> None:
        more = islice(todo, 2 * batch_size - len(ahead))
        ahead.extend((picture, pool.submit(_pixels, classifier.preprocessing, picture, read)) for picture in more)

    try:
        read_ahead()
        while ahead:
            batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            outcomes = [_outcome(future) for _, future in batch]
            read_ahead()
            good = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
            predictions = iter(classifier.name(np.stack(good), top) if good else [])
            for (picture, _), outcome in zip(batch, outcomes, strict=True):
                yield picture, outcome if isinstance(outcome, ImageError) else next(predictions)
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(
    preprocessing: Preprocessing, picture: Picture, read: Callable[[Preprocessing, bytes], np.ndarray]
) -> np.ndarray:
    """(S, S, 3) uint8 of a picture in any of its forms. Raises ImageError."""
    if isinstance(picture, str | Path):
        with opened(os.fspath(picture), None) as file:
            picture = file.read(LARGEST + 1)
        check_size(len(picture))
    if isinstance(picture, bytes):
        return read(preprocessing, picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
            raise ImageError(f"an array must be uint8, (H, W, 3) or (H, W), not {picture.dtype} {picture.shape}")
        picture = Image.fromarray(np.ascontiguousarray(picture))
    if isinstance(picture, Image.Image):
        return preprocessing.pixels(as_rgb(picture))
    raise ImageError(f"a picture is a path, bytes, a Pillow picture or an array, not {type(picture).__name__}")


def _outcome(future: Future[np.ndarray]) -> np.ndarray | ImageError:
    try:
        return future.result()
    except ImageError as problem:
        return problem


def files_of(names: Iterable[str], failed: list[Row]) -> Iterator[str]:
    """The files that names mean: files, folders with all below them, globs. Those that mean none go to `failed`."""
    for name in names:
        found = [name] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))
        if not found:
            failed.append(Row(name, (), "nothing matches" if glob.has_magic(name) else "there is no such file"))
        for entry in found:
            if not os.path.isdir(entry):
                yield entry
                continue
            empty = True
            for path in _below(entry, failed):
                empty = False
                yield path
            if empty:
                failed.append(Row(entry, (), "the folder has no files in it"))


def _below(folder: str, failed: list[Row]) -> Iterator[str]:
    """All files under `folder`, sorted, but hidden ones, and pipes and devices, which would hang."""

    def unreadable(error: OSError) -> None:
        failed.append(Row(error.filename, (), f"it cannot be read: {error.strerror}"))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not hidden(name))
        for name in sorted(files):
            path = os.path.join(place, name)
            # A link to nowhere is kept: it is named as a failure.
            if not hidden(name) and (os.path.isfile(path) or not os.path.exists(path)):
                yield path
