"""`open_source`: whatever the user names as data -> a source."""

from __future__ import annotations

import os
from pathlib import Path

from resnets.data.archives import open_archive
from resnets.data.folder import Folder
from resnets.data.named import NAMES, open_named
from resnets.data.source import Source
from resnets.errors import DataError, nearest
from resnets.progress import say
from resnets.regular import irregular
from resnets.text import printable


def open_source(data: str | Path, *, quiet: bool = False) -> Source:
    """Open a folder, a .zip, a plain .tar, or the name of a data set.

    The names are ``digits``, ``cifar10``, ``cifar100``, ``fashion-mnist`` and ``imagenette``; a folder
    that bears one of them is reached as ``./digits``. A single folder around the layout is looked
    through (``imagenette2/train/...``), and sub-folders of a class folder belong to that class. Two
    entries of an archive under one name are an error, so that no file silently replaces another.

    quiet   leave it to the caller to say `remarks`: what was left out, and why

    Raises DataError, which says what to do, where there is no such data or it cannot be used; FetchError where a named
    set could not be downloaded.
    """
    name = os.fspath(data)
    if data in NAMES:
        return open_named(name)
    source = _opened(name, os.path.expanduser(name))
    for remark in source.remarks if not quiet else ():
        say(remark)
    return source


def _opened(name: str, path: str) -> Source:
    shown = printable(name)
    try:
        if os.path.isdir(path):
            return Folder(name, path)
        if os.path.exists(path) and (why := irregular(os.stat(path).st_mode)):
            raise DataError(f"{shown} cannot be data: {why}; name a folder or an archive.")
        if not os.path.isfile(path):
            raise DataError(f"There is no folder, archive or data set {shown!r}.{nearest(name, NAMES)}")
        return open_archive(name, path)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}; check its permissions.") from error
