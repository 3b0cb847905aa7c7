"""One request over HTTP: where it may be sent on to, whether it may go better later, and how to wait a short while."""

from __future__ import annotations

import http.client
import queue
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import Any

BLOCK = 2**16  # bytes
BRIEF = 4.0  # seconds
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be better a little later


class CutOff(Exception):
    """The connection ended before the file did."""


FAILURES = (urllib.error.URLError, http.client.HTTPException, CutOff, ConnectionError, TimeoutError, ssl.SSLError)


def version(headers: Message) -> str:
    """What a server calls the version of a file that it sends, fit for If-Range (RFC 9110, 13.1.5); "" for nothing."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def known_version(mark: Path | None) -> str:
    """What was kept of it."""
    return mark.read_text() if mark is not None and mark.exists() else ""


def request(
    url: str, headers: Mapping[str, str], timeout: float, method: str = "GET", brief: bool = False
) -> tuple[http.client.HTTPResponse, bytes]:
    """(an answer, the bytes of it that have been read already).

    timeout     seconds of silence after which the connection is given up; what looking up a name takes comes on top
    brief       no: that, and the first bytes, take `timeout` seconds together at most

    Raises one of `FAILURES`.
    """
    if not brief:
        return _open(url, headers, timeout, method), b""
    found: queue.SimpleQueue[tuple[http.client.HTTPResponse, bytes] | Exception] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            response = _open(url, headers, timeout, method)
            found.put((response, b"" if method == "HEAD" else response.read1(BLOCK)))
            if given_up.is_set():
                response.close()
        except Exception as problem:
            found.put(problem)

    # Nothing ends a look-up of a name that nobody answers, so that it is left behind.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=timeout)
    except queue.Empty:
        given_up.set()
        with suppress(queue.Empty):
            late = found.get_nowait()
            if isinstance(late, tuple):
                late[0].close()
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def passing(error: Exception) -> bool:
    """Whether another attempt may go better."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING
    if isinstance(error, urllib.error.URLError):  # nobody answers, or the name is unknown
        return isinstance(error.reason, TimeoutError | ConnectionResetError)
    return True


def reason(error: Exception, timeout: float) -> str:
    """Why it failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"the server was silent for {timeout:g} s"
    return str(cause) or type(cause).__name__


class Redirects(urllib.request.HTTPRedirectHandler):
    """A token stays with the host that it is for, and so does a question (HEAD); nothing leaves https for less."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows a redirect; None to stay where we are."""
        here, there = (urllib.parse.urlsplit(url) for url in (req.full_url, newurl))
        if there.scheme not in ("https", here.scheme):
            raise urllib.error.URLError(f"it redirects from {here.scheme} to {there.scheme}")
        at_home = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        if req.get_method() == "HEAD" and not at_home:
            return None
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()
            if not at_home:
                new.remove_header("Authorization")
        return new


def _open(url: str, headers: Mapping[str, str], timeout: float, method: str) -> http.client.HTTPResponse:
    always = {"User-Agent": "resnets", "Accept-Encoding": "identity"}
    asked = urllib.request.Request(url, headers={**always, **headers}, method=method)
    response: http.client.HTTPResponse = urllib.request.build_opener(Redirects).open(asked, timeout=timeout)
    return response
