"""One walk through a folder for all verbs: the same links are followed, and the same names are nobody's data.

Links are followed, as photos often lie elsewhere. Hidden files, what systems leave behind, the folders of runs and our
own caches are left out. What is no regular file is named and never opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from resnets.errors import DataError
from resnets.machine import home
from resnets.regular import irregular, open_regular

# What systems and programs leave in folders, in lower case; all that begins with a point is hidden anyway.
CLUTTER = frozenset(
    {
        *("__macosx", "icon\r", "network trash folder", "temporary items"),  # macOS
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "thumbs.db:encryptable", "desktop.ini", "picasa.ini"),
        *("$recycle.bin", "system volume information"),  # Windows
        *("lost+found", "__pycache__"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp"),  # network storage
    }
)
RECORD = "run.json"  # of a run's folder, see resnets.weights.run
RECORD_BYTES = 2**20  # of its beginning: what the run was asked for stands first
MOST_VISITS = 100  # to one folder, over different links: few links to folders of links make millions of paths


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk came by.

    key         its path below the root, with "/"
    kind        "file": a regular file, or a link to nowhere, which whoever opens it will see
                "odd": a pipe, a socket or a device
                "empty": a folder without anything
                "ours": the folder of a run, or of our caches; not walked
                "barred": a folder that cannot be walked
    size        bytes of a file
    changed     when it was last, in ns
    why         of what is odd, ours or barred, behind its path: "is a pipe, not a file"
    """

    key: str
    kind: str = "file"
    size: int = 0
    changed: int = 0
    why: str = ""


def hidden(part: str) -> bool:
    """True for the names of files and folders that no user put there on purpose."""
    return part[:1] == "." or part.lower() in CLUTTER


def walk(root: str) -> Iterator[Found]:
    """All that lies in a folder, but what is hidden: of each folder its files by name, then its folders by name."""
    visits: Counter[tuple[int, int]] = Counter()
    todo: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while todo:
        key, above = todo.pop()
        folder = os.path.join(root, key)
        try:
            identity = _identity(os.stat(folder))
            with os.scandir(folder) as scan:
                entries = sorted((entry for entry in scan if not hidden(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            yield Found(key, "barred", why=f"cannot be read: {error.strerror}; check its permissions")
            continue
        visits[identity] += 1
        if identity in above:
            yield Found(key, "barred", why="leads back to a folder that it lies in: remove that symbolic link")
        elif visits[identity] > MOST_VISITS:
            yield Found(key, "barred", why=f"is reached over more than {MOST_VISITS} links: remove some of them")
        elif why := _ours(folder, entries, identity, at_root=not key):
            yield Found(key, "ours", why=why)
        elif not entries:
            yield Found(key, "empty")
        else:
            below = []
            for entry in entries:
                found = _file(key + entry.name, entry)
                if found is None:
                    below.append((f"{key}{entry.name}/", above | {identity}))
                else:
                    yield found
            todo += reversed(below)


def is_record(head: bytes) -> bool:
    """Whether the beginning of a file called `RECORD` is that of a run: others have files of this name, too."""
    return head.lstrip()[:1] == b"{" and b'"asked"' in head and b'"network"' in head


def _file(key: str, entry: os.DirEntry[str]) -> Found | None:
    """What an entry is; None for a folder."""
    try:
        info = entry.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return Found(key, "barred", why="is a symbolic link to itself: remove it")
        return Found(key)
    if stat.S_ISDIR(info.st_mode):
        return None
    if why := irregular(info.st_mode):
        return Found(key, "odd", why=why.removeprefix("it "))
    return Found(key, size=info.st_size, changed=info.st_mtime_ns)


def _ours(folder: str, entries: list[os.DirEntry[str]], identity: tuple[int, int], *, at_root: bool) -> str:
    """Why a folder holds what this program has written; "" for any other."""
    if any(entry.name == RECORD for entry in entries):
        with suppress(OSError), open_regular(os.path.join(folder, RECORD)) as file:
            if is_record(file.read(RECORD_BYTES)):
                return "is the folder of a run"
    with suppress(OSError, DataError):  # no caches yet, or no home for them
        if not at_root and _identity(os.stat(home())) == identity:
            return "holds the caches of resnets"
    return ""


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino
