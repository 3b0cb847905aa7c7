"""Names of strangers made fit to be shown: files, classes and tensors may be called anything."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

LONGEST = 60  # characters of a value that an error shows
PATH = 500  # of a path, which is of use only whole; real ones are shorter


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


def brief(value: object, most: int = LONGEST) -> str:
    """A value as an error shows it: printable, and cut behind so many characters; a file may hold anything."""
    text = repr(value)
    return printable(text if len(text) <= most else f"{text[:most]}...")


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


_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_NO_TEXT = re.compile(rf"[\x00-\x1f\x7f\ud800-\udfff]|\\(?={_ESCAPE.pattern[2:]})")
_FORMULA = "=+-@\uff0b\uff0d\uff1d\uff20"  # the last four are their full-width forms


def written(name: str) -> str:
    """``name`` made fit for a table: text in valid UTF-8 without control characters. `original` takes it back.

    What is no text becomes an escape: ``\\xff`` is a byte that is not UTF-8 (a lone surrogate in Python), ``\\ud800``
    another half of a surrogate pair, ``\\x0a`` a control character, and ``\\x5c`` a backslash that would read as the
    beginning of an escape. Everything else stays as it is.
    """
    return _NO_TEXT.sub(_escaped, name)


def original(text: str) -> str:
    """The name that `written` was given."""

    def character(found: re.Match[str]) -> str:
        byte, half = found.groups()
        if half is not None:
            return chr(int(half, 16))
        return chr(int(byte, 16) + (0 if byte < "80" else 0xDC00))

    return _ESCAPE.sub(character, text)


def cell(text: str) -> str:
    """``text`` as a cell of a CSV file that no spreadsheet takes for a formula: then an apostrophe stands before it.

    So it does before what begins with one itself: without a leading apostrophe every cell is the text that was given.
    """
    return f"'{text}" if text[:1] == "'" or text.lstrip()[:1] in tuple(_FORMULA) else text


def _escaped(found: re.Match[str]) -> str:
    number = ord(found.group()[0])
    if 0xDC80 <= number <= 0xDCFF:  # where Python puts a byte that is not UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
