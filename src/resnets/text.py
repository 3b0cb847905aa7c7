"""Names of strangers made fit to be shown: files, classes and tensors may be called anything."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence


def printable(name: str) -> str:
    """``name`` made fit for a terminal, a log or a page: one line of valid UTF-8.

    File names on Linux are bytes. Those that are not UTF-8 arrive here with lone surrogates, which
    ``print`` refuses, and any name may hold line feeds or escape sequences. Both are shown as ``\\x..``.
    """
    try:
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file system gives, but a model file may hold
        text = name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of many names, fit to be shown: 'a.jpg, b.jpg, c.jpg and 4 more'."""
    shown = ", ".join(printable(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def typed(*words: str) -> str:
    """Words as one line for a shell. What no line can hold (line feeds, bytes that are not UTF-8) is spelt $'\\x0a'."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    plain = (
        c if c.isprintable() and c not in "\\'" else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in word
    )
    return f"$'{''.join(plain)}'"
