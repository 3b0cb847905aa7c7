"""Pictures in any form -> what a network makes of them, in bounded memory: decoding runs in parallel with the network.

Pictures are read and prepared on threads (Pillow and the turbo reader leave the interpreter alone meanwhile) while the
network, with all of torch's threads, works on the micro-batch before them. What waits in memory are prepared squares,
two micro-batches of them; as many pictures are open at full size as there are threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from PIL import Image

from resnets.data import fast_decode
from resnets.data.decode import as_rgb
from resnets.data.preprocess import Preprocessing
from resnets.data.source import LARGEST, check_size, opened
from resnets.data.threads import attempt
from resnets.errors import ImageError, ParameterError
from resnets.inference.seen import Seen, seen
from resnets.machine import cores
from resnets.regular import bounded

Watch = Callable[[str, Seen], None]
Picture = str | Path | bytes | Image.Image | np.ndarray
P = TypeVar("P", bound=Picture)
R = TypeVar("R")

BATCH = 16  # pictures that the network sees at once: from 8 on none of the engines gets any faster


def decoders() -> int:
    """How many threads prepare pictures: one for each core, beside the network's own."""
    return cores()


def each(
    work: Callable[[np.ndarray], Sequence[R]],
    preprocessing: Preprocessing,
    pictures: Iterable[P],
    batch_size: int = BATCH,
    fast: bool = False,
    threads: int | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[P, R | ImageError]]:
    """(picture, what `work` makes of it) in their order, as it comes in; never stop at a bad one.

    work      (N, S, S, 3) uint8, as `preprocessing` gives them -> N results; N is at most `batch_size`
    fast      read JPEG files by `data.fast_decode`
    threads   how many prepare pictures. Default: `decoders()`
    watch     told of each file that was read, on these threads: its path as given, and what it was

    A picture that cannot be used has an ImageError in its place, whose message is the reason alone.
    """
    if batch_size < 1:
        raise ParameterError(f"batch_size is at least 1, not {batch_size}.")
    read = fast_decode.read if fast else Preprocessing.read
    todo = iter(pictures)
    pool = ThreadPoolExecutor(threads or decoders())
    ahead: deque[tuple[P, Future[np.ndarray]]] = deque()

    def read_ahead() -> None:
        more = islice(todo, 2 * batch_size - len(ahead))
        ahead.extend((picture, pool.submit(_pixels, preprocessing, picture, read, watch)) for picture in more)

    try:
        read_ahead()
        while ahead:
            batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            prepared = [attempt(future.result) for _, future in batch]
            read_ahead()
            good = [one for one in prepared if not isinstance(one, ImageError)]
            results = iter(work(np.stack(good)) if good else ())
            for (picture, _), one in zip(batch, prepared, strict=True):
                yield picture, one if isinstance(one, ImageError) else next(results)
    finally:
        pool.shutdown(cancel_futures=True)


def listed(images: Picture | Iterable[Picture]) -> Iterable[Picture]:
    """Pictures; a single one may come without a list around it."""
    alone = isinstance(images, str | Path | bytes | Image.Image)
    if alone or (isinstance(images, np.ndarray) and images.ndim <= 3):
        return [cast(Picture, images)]
    return cast(Iterable[Picture], images)


def good(results: Iterable[tuple[Picture, R | ImageError]]) -> Iterator[tuple[str, R]]:
    """(name, result): a path as it was given, or "image 3" for what has none, counted from 0.

    Raises ImageError, with that name, at the first that could not be used.
    """
    for number, (picture, result) in enumerate(results):
        name = str(picture) if isinstance(picture, str | Path) else f"image {number}"
        if isinstance(result, ImageError):
            raise ImageError(f"{name}: {result}") from result
        yield name, result


def _pixels(
    preprocessing: Preprocessing,
    picture: Picture,
    read: Callable[[Preprocessing, bytes], np.ndarray],
    watch: Watch | None,
) -> np.ndarray:
    """(S, S, 3) uint8 of a picture in any of its forms. Raises ImageError."""
    if isinstance(picture, str | Path):
        path = os.fspath(picture)
        with opened(path, None) as file:
            info = os.fstat(file.fileno())
            picture = bounded(file, LARGEST)
        if watch is not None:
            watch(path, seen(info, picture))
        check_size(len(picture))
    if isinstance(picture, bytes):
        return read(preprocessing, picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
            raise ImageError(f"an array must be uint8, (H, W, 3) or (H, W), not {picture.dtype} {picture.shape}")
        picture = Image.fromarray(np.ascontiguousarray(picture))
    if isinstance(picture, Image.Image):
        return preprocessing.pixels(as_rgb(picture, preprocessing.full_scale))
    raise ImageError(f"a picture is a path, bytes, a Pillow picture or an array, not {type(picture).__name__}")
