"""Data at an address: an archive or a table on a server, fetched once into the cache.

Nobody publishes a sum of it, so it is what the server gave; what is in it is checked like any other data.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from pathlib import Path

from resnets.data.fetch import fetch
from resnets.data.rows import TABLES
from resnets.errors import DataError
from resnets.machine import home
from resnets.regular import open_regular
from resnets.text import printable

ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".txz", ".tar.xz", ".tbz2", ".tar.bz2", ".parquet")


def is_address(name: str) -> bool:
    """Whether data is named by an address."""
    return name.lower().startswith(("http://", "https://"))


def plain(address: str) -> str:
    """An address as the web wants it: spaces and letters beyond ASCII are typed as they are. Raises DataError."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as problem:
        raise DataError(f"{printable(address)} is no address: {printable(str(problem))}.") from problem
    if not parts.hostname or any(letter.isspace() for letter in parts.netloc):
        raise DataError(f"{printable(address)} is no address of an archive, or of a folder of shards: name all of it.")
    return parts._replace(
        scheme=parts.scheme.lower(),
        path=urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~"),
        query=urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?"),
        fragment="",
    ).geturl()


def fetched(address: str) -> Path:
    """The file at an address, fetched unless it was before.

    Raises DataError for an address of no archive, FetchError where it cannot be fetched.
    """
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as problem:
        raise DataError(f"{printable(address)} is no address: {printable(str(problem))}.") from problem
    name = urllib.parse.unquote(parts.path).rpartition("/")[2]
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    if not parts.hostname or not ending or any(letter.isspace() for letter in parts.netloc):
        what = f"; a table of paths ({', '.join(TABLES[:3])}) lies beside its pictures" if name else ""
        raise DataError(f"{printable(address)} is no address of an archive: it ends in {', '.join(ENDINGS)}{what}.")
    digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    try:
        path = fetch(plain(address), home() / "downloads" / f"{digest}{ending}", unchecked=True)
    except (ValueError, UnicodeError) as problem:
        raise DataError(f"{printable(address)} is no address: {printable(str(problem))}.") from problem
    with open_regular(path) as file:
        head = file.read(512)
    if head.lstrip()[:1] == b"<":
        path.unlink(missing_ok=True)
        raise DataError(f"{printable(address)} gives a web page, and no archive: name the address of the file itself.")
    return path
