"""Work on many items in threads, in order, a bounded number ahead; and stopped soon, whatever stops it.

A pool of threads alone would work off all that is queued before a Ctrl-C comes through.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from resnets.errors import ImageError, UnreadableError

T = TypeVar("T")
R = TypeVar("R")

BLOCK = 16  # items for each task: one task for each item is 10 to 20 % slower
AHEAD = 4  # blocks for each thread, or on a slow disk what is done would pile up in memory


@contextmanager
def in_order(
    work: Callable[[T], R], items: Sequence[T], workers: int
) -> Iterator[Iterator[tuple[Sequence[T], list[R]]]]:
    """Blocks of items, each with what `work` made of it. When the `with` ends, threads finish the item at hand."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers)

    def run(block: Sequence[T]) -> list[R]:
        return [work(item) for item in block if not stop.is_set()]

    def results() -> Iterator[tuple[Sequence[T], list[R]]]:
        running: deque[tuple[Sequence[T], Future[list[R]]]] = deque()
        todo = (items[i : i + BLOCK] for i in range(0, len(items), BLOCK))
        while True:
            while len(running) < AHEAD * workers and (block := next(todo, None)):
                running.append((block, pool.submit(run, block)))
            if not running:
                return
            block, future = running.popleft()
            yield block, future.result()

    try:
        yield results()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def attempt(read: Callable[[], R]) -> R | ImageError:
    """What `read` gives, or why the picture cannot be used: one that takes all memory is one that is left out."""
    try:
        return read()
    except ImageError as problem:
        return problem
    except MemoryError:
        return UnreadableError("not enough memory to decode it")
