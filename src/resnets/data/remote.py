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
from resnets.text import printable

ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".txz", ".tar.xz", ".tbz2", ".tar.bz2", ".parquet")


def is_address(name: str) -> bool:
    """Whether data is named by an address."""
    return name.lower().startswith(("http://", "https://"))


def fetched(address: str) -> Path:
    """The file at an address, fetched unless it was before.

    Raises DataError for an address of no archive, FetchError where it cannot be fetched.
    """
    parts = urllib.parse.urlsplit(address)
    name = urllib.parse.unquote(parts.path).rpartition("/")[2]
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    if not parts.hostname or not ending:
        what = f"; a table of paths ({', '.join(TABLES[:3])}) lies beside its pictures" if name else ""
        raise DataError(f"{printable(address)} is no address of an archive: it ends in {', '.join(ENDINGS)}{what}.")
    digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return fetch(address, home() / "downloads" / f"{digest}{ending}", unchecked=True)
