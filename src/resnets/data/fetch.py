"""Downloads that end whole or not at all: checksum, resume, patience with bad networks, one at a time.

The bytes go to ``NAME.part``, which a later call goes on from, and only a verified file gets its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import TypeVar

from resnets.data.request import BLOCK, BRIEF, FAILURES, CutOff, known_version, passing, reason, request, version
from resnets.errors import FetchError
from resnets.progress import track
from resnets.whole import lock

MEGABYTE = 10**6
RETRIES = 4  # after attempts in a row that brought less than a megabyte
LARGEST = 2**33  # bytes of a file of which nobody says how large it should be

_T = TypeVar("_T")


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    git: str | None = None,
    unchecked: bool = False,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
    brief: bool = False,
) -> Path:
    """Download ``url`` to ``path``, unless a verified copy lies there already.

    url        http or https
    path       the file to write; its folder is made
    sha256     the expected checksum in hex, or its first digits where no more is published; this or one of the next
               three must be given
    md5        as ``sha256``, for files whose owners publish nothing better
    git        as ``sha256``, the name that git gives to a file of this content
    unchecked  nothing is published, and the caller checks the content
    size       the expected number of bytes, if it is known; more are never written
    headers    sent with the request; "Authorization" never goes to another host after a redirect
    timeout    seconds of silence after which a connection is given up
    pause      seconds before the first retry; each further one waits twice as long
    brief      whether to give up after `BRIEF` seconds in all where nobody gives anything; once bytes arrive, as else

    Raises FetchError: the file did not arrive, or is not the right one; the message says why and where a copy from
    another machine can be put. ``RESNETS_OFFLINE=1`` in the environment forbids downloads.
    """
    timeout = min(timeout, BRIEF) if brief else timeout
    sums = {"sha256": sha256, "md5": md5, "git": git}
    if not url.startswith(("http://", "https://")) or not (unchecked or any(sums.values())):
        raise ValueError("fetch needs an http or https address and a checksum")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            part = path.with_name(path.name + ".part")
            for place in (path, part):
                if place.exists() and not place.is_file():  # a pipe would hang
                    raise FetchError(f"{place} is no file: remove it.")
            if path.exists():
                if not verified(path, sums):
                    raise FetchError(f"{path} is not the file that {url} should give: remove or replace it.")
                return path
            if _offline():
                raise _failed(url, path, "RESNETS_OFFLINE is set")
            mark = part.with_name(f"{part.name}.version")
            how = (headers or {}, timeout, pause, brief, mark if unchecked else None)
            _bring(url, path, part, sums, lambda: _download(url, path, part, size, *how))
            os.replace(part, path)
            mark.unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(
            f"{path} cannot be written: {error.strerror}; free some space, or set RESNETS_HOME to a "
            "folder that can be written."
        ) from error
    return path


def ask(
    url: str,
    failed: Callable[[str], FetchError],
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
    brief: bool = False,
) -> tuple[int, Message]:
    """What a host itself says of ``url``: HTTP status and headers. Redirects to other hosts are not followed.

    timeout, pause, brief: as for `fetch`.

    Raises what ``failed`` makes of the reason if ``RESNETS_OFFLINE`` is set or nobody answers.
    """

    def once() -> tuple[int, Message]:
        try:
            with request(url, headers or {}, timeout, "HEAD", brief)[0] as response:
                return response.status, response.headers
        except urllib.error.HTTPError as error:
            error.close()
            if passing(error):
                raise
            return error.code, error.headers

    if _offline():
        raise failed("RESNETS_OFFLINE is set")
    timeout = min(timeout, BRIEF) if brief else timeout
    return _patiently(once, lambda: 0, failed, timeout, pause, brief)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes of this machine that would make the same file."""
    # Opened for both, not even a pipe in its place would hang.
    with open(os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666), "r+b", 0) as file:
        lock(file.fileno(), wait=True)
        yield


def _offline() -> bool:
    return os.environ.get("RESNETS_OFFLINE", "0") not in ("", "0")


def _failed(url: str, path: Path, why: str) -> FetchError:
    return FetchError(f"{url} could not be fetched ({why}): try again, or put a copy of it at {path}.")


def verified(path: Path, sums: Mapping[str, str | None]) -> bool:
    """Whether a file has these checksums, as far as they are known."""
    return all(_digest(path, name).startswith(wanted) for name, wanted in sums.items() if wanted)


def _digest(path: Path, name: str) -> str:
    if name == "git":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        digest = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def _bring(url: str, path: Path, part: Path, sums: Mapping[str, str | None], download: Callable[[], bool]) -> None:
    """Verified bytes in ``part``, which may hold others from before."""
    resumed = download()
    if resumed and not verified(part, sums):
        part.unlink()  # the old bytes may be at fault
        download()
    if not verified(part, sums):
        part.unlink()
        raise _failed(url, path, "what arrived has another checksum and was deleted")


def _download(
    url: str,
    path: Path,
    part: Path,
    size: int | None,
    headers: Mapping[str, str],
    timeout: float,
    pause: float,
    brief: bool,
    mark: Path | None,
) -> bool:
    """Fill ``part``, going on from what it holds. True if it held something.

    mark    as for `_attempt`: of a file whose content nobody else checks. Without that word another version may have
            been begun
    """
    if mark is not None and not known_version(mark):
        part.unlink(missing_ok=True)

    def have() -> int:
        return part.stat().st_size if part.exists() else 0

    resumed = have() > 0
    with track(f"fetching {path.name}", (size or 0) // MEGABYTE, unit="MB") as advance:
        shown = 0

        def report(done: int) -> None:
            nonlocal shown
            advance(done // MEGABYTE - shown)
            shown = done // MEGABYTE

        _patiently(
            lambda: _attempt(url, part, size, headers, timeout, report, brief, mark),
            have,
            lambda why: _failed(url, path, why),
            timeout,
            pause,
            brief,
        )
    return resumed


def _patiently(
    act: Callable[[], _T],
    have: Callable[[], int],
    failed: Callable[[str], FetchError],
    timeout: float,
    pause: float,
    brief: bool,
) -> _T:
    """``act``, again and again while the network may mend and as long as the bytes that we ``have`` grow.

    brief: only once if they have not grown at all
    """
    failures, first = 0, have()
    while True:
        before = have()
        try:
            return act()
        except FAILURES as error:
            failures = 0 if have() - before >= MEGABYTE else failures + 1
            if failures > (0 if brief and have() <= first else RETRIES) or not passing(error):
                raise failed(reason(error, timeout)) from error
            time.sleep(pause * 2 ** max(failures - 1, 0))


def _attempt(
    url: str,
    part: Path,
    size: int | None,
    headers: Mapping[str, str],
    timeout: float,
    report: Callable[[int], None],
    brief: bool,
    mark: Path | None,
) -> None:
    """One request. The bytes that arrive are in ``part`` however it ends.

    mark    where the server's word for this version of the file is kept, of which alone the rest is asked for
    """
    known = known_version(mark)
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        if have == size:
            return
        part.unlink()
        have = 0
    try:
        span_asked = {"Range": f"bytes={have}-", **({"If-Range": known} if known else {})} if have else {}
        response, block = request(url, {**headers, **span_asked}, timeout, brief=brief)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing lies behind what we have: begin again without it
            part.unlink()
            raise CutOff("the server refused to go on from a part") from error
        raise
    with response:
        span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if response.status != 206 or not span or int(span[1]) != have:
            if response.status == 206:
                part.unlink(missing_ok=True)
                raise CutOff("the server sent another range than the one asked for")
            have = 0  # the server ignores ranges, or has another version, and sends everything
            if mark is not None:
                mark.write_text(version(response.headers))
        length = response.headers.get("Content-Length", "")
        promised = have + int(length) if length.isdecimal() else None
        if size is not None and promised is not None and promised != size:
            raise urllib.error.URLError(f"it has {promised} bytes there, and {size} are right")
        whole = promised if size is None else size
        most = LARGEST if whole is None else min(whole, LARGEST)
        with open(part, "ab" if have else "wb") as file:
            report(have)
            while block := block or response.read1(BLOCK):
                have += len(block)
                if have > most:
                    raise urllib.error.URLError(f"it is larger than the {most} bytes that are right")
                file.write(block)
                report(have)
                block = b""
    if whole is not None and have < whole:
        raise CutOff(f"the connection ended after {have} of {whole} bytes")
