"""Downloads that end whole or not at all: checksum, resume, patience with bad networks, one at a time.

The bytes go to ``NAME.part``, which a later call goes on from, and only a verified file gets its name.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resnets.errors import FetchError
from resnets.progress import track

BLOCK = 2**16  # bytes
MEGABYTE = 10**6
RETRIES = 4  # after attempts in a row that brought less than a megabyte
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be better a little later


class _CutOff(Exception):
    """The connection ended before the file did."""


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Download ``url`` to ``path``, unless a verified copy lies there already.

    Args:
        url: http or https.
        path: the file to write; its folder is made.
        sha256: the expected checksum in hex; this or ``md5`` must be given.
        md5: as ``sha256``, for files whose owners publish nothing better.
        size: the expected number of bytes, if it is known; more are never written.
        timeout: seconds of silence after which a connection is given up.
        pause: seconds before the first retry; each further one waits twice as long.

    Raises:
        FetchError: the file did not arrive, or is not the right one; the message says why and where a
            copy from another machine can be put. ``RESNETS_OFFLINE=1`` in the environment forbids
            downloads.
    """
    if not url.startswith(("http://", "https://")) or not (sha256 or md5):
        raise ValueError("fetch needs an http or https address and a checksum")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if path.exists():
                if not _verified(path, sha256, md5):
                    raise FetchError(f"{path} is not the file that {url} should give: remove or replace it.")
                return path
            if os.environ.get("RESNETS_OFFLINE", "0") not in ("", "0"):
                raise _failed(url, path, "RESNETS_OFFLINE is set")
            part = path.with_name(path.name + ".part")
            resumed = _download(url, path, part, size, timeout, pause)
            if resumed and not _verified(part, sha256, md5):
                part.unlink()  # the old bytes may be at fault
                _download(url, path, part, size, timeout, pause)
            if not _verified(part, sha256, md5):
                part.unlink()
                raise _failed(url, path, "what arrived has another checksum and was deleted")
            os.replace(part, path)
    except OSError as error:
        raise FetchError(
            f"{path} cannot be written: {error.strerror}; free some space, or set RESNETS_HOME to a "
            "folder that can be written."
        ) from error
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes of this machine that would make the same file."""
    with open(path.with_name(f".{path.name}.lock"), "ab") as file:
        if sys.platform != "win32":  # there, two downloads at once are on their own
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _failed(url: str, path: Path, why: str) -> FetchError:
    return FetchError(f"{url} could not be fetched ({why}): try again, or put a copy of it at {path}.")


def _verified(path: Path, sha256: str | None, md5: str | None) -> bool:
    name, wanted = ("sha256", sha256) if sha256 else ("md5", md5)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False))
    return digest.hexdigest() == wanted


def _download(url: str, path: Path, part: Path, size: int | None, timeout: float, pause: float) -> bool:
    """Fill ``part``, going on from what it holds. True if it held something."""
    resumed = part.exists() and part.stat().st_size > 0
    with track(f"fetching {path.name}", (size or 0) // MEGABYTE, unit="MB") as advance:
        shown = 0

        def report(done: int) -> None:
            nonlocal shown
            advance(done // MEGABYTE - shown)
            shown = done // MEGABYTE

        failures = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                _attempt(url, part, size, timeout, report)
                return resumed
            except (urllib.error.URLError, http.client.HTTPException, _CutOff, *_NETWORK) as error:
                why = _reason(error, timeout)
                gained = (part.stat().st_size if part.exists() else 0) - before
                failures = 0 if gained >= MEGABYTE else failures + 1
                if failures > RETRIES or not _passing(error):
                    raise _failed(url, path, why) from error
                time.sleep(pause * 2 ** max(failures - 1, 0))


_NETWORK = (ConnectionError, TimeoutError, ssl.SSLError)


def _attempt(url: str, part: Path, size: int | None, timeout: float, report: Callable[[int], None]) -> None:
    """One request. The bytes that arrive are in ``part`` however it ends."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        if have == size:
            return
        part.unlink()
        have = 0
    headers = {"User-Agent": "resnets", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing lies behind what we have: begin again without it
            part.unlink()
            raise _CutOff("the server refused to go on from a part") from error
        raise
    with response:
        span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if response.status != 206 or not span or int(span[1]) != have:
            if response.status == 206:
                part.unlink(missing_ok=True)
                raise _CutOff("the server sent another range than the one asked for")
            have = 0  # the server ignores ranges and sends everything
        length = response.headers.get("Content-Length", "")
        promised = have + int(length) if length.isdecimal() else None
        if size is not None and promised is not None and promised != size:
            raise urllib.error.URLError(f"it has {promised} bytes there, and {size} are right")
        whole = promised if size is None else size
        with open(part, "ab" if have else "wb") as file:
            report(have)
            while block := response.read1(BLOCK):
                have += len(block)
                if whole is not None and have > whole:
                    raise urllib.error.URLError(f"it is larger than the {whole} bytes that are right")
                file.write(block)
                report(have)
    if whole is not None and have < whole:
        raise _CutOff(f"the connection ended after {have} of {whole} bytes")


def _passing(error: Exception) -> bool:
    """Whether another attempt may go better."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING
    if isinstance(error, urllib.error.URLError):  # nobody answers, or the name is unknown
        return isinstance(error.reason, TimeoutError | ConnectionResetError)
    return True


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"the server was silent for {timeout:g} s"
    return str(cause) or type(cause).__name__
