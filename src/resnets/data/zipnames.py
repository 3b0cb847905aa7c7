"""The names in a .zip, which only newer packers write in UTF-8 and say so.

What does not say so and is UTF-8 all the same, is taken for it. Other names are bytes of the code page of some
computer: all together they are read as the first of `PAGES` in which each of their characters is a letter of that
page's script, and stands at no ASCII letter (chance does that); else as cp437, as the format has it. Where one name is
no UTF-8, those that could be are read like it if they can be: two bytes of a code page may be a letter of UTF-8.
"""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress

# Code page, what Unicode calls its letters, and whether they may stand in one word with ASCII letters.
PAGES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("cp866", ("CYRILLIC", "NUMERO"), False),
    ("cp932", ("HIRAGANA", "KATAKANA", "CJK", "FULLWIDTH", "IDEOGRAPHIC"), False),
    ("gb2312", ("CJK", "FULLWIDTH", "IDEOGRAPHIC"), False),
    ("cp850", ("LATIN",), True),
)
LAST = "cp437"


def zip_names(infos: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """(the entries' names, with "/", the code page of those that are not UTF-8; "" where all are)."""
    names = [info.filename for info in infos]
    mute: dict[int, bytes] = {}  # not ASCII, and without a word on what it is
    utf8: dict[int, str] = {}
    for place, info in enumerate(infos):
        if info.filename != info.orig_filename.partition("\0")[0].replace(os.sep, "/"):
            continue  # the standard library has found its Unicode name beside it (extra field 0x7075)
        if not info.flag_bits & 0x800 and not info.filename.isascii():
            mute[place] = info.filename.encode("cp437")  # in which the standard library has read it
            with suppress(UnicodeDecodeError):
                utf8[place] = mute[place].decode()
    page = ""
    if len(utf8) < len(mute):  # one packer wrote them all; two letters of a code page may be one of UTF-8
        page = _page(mute.values())
        if page == LAST:
            page = _page(raw for place, raw in mute.items() if place not in utf8)
        else:
            utf8 = {}
    for place, raw in mute.items():
        names[place] = utf8[place] if place in utf8 else raw.decode(page)
    return [name.replace("\\", "/") for name in names], page


def _page(names: Iterable[bytes]) -> str:
    different = set(names)
    for page, scripts, mixes in PAGES:
        try:
            if all(_is_text(raw.decode(page), scripts, mixes) for raw in different):
                return page
        except UnicodeDecodeError:
            continue
    return LAST


def _is_text(name: str, scripts: tuple[str, ...], mixes: bool) -> bool:
    for before, letter, after in zip(f" {name}", name, f"{name[1:]} ", strict=False):
        if letter.isascii():
            continue
        if not unicodedata.name(letter, "").startswith(scripts):
            return False
        if not mixes and any(beside.isascii() and beside.isalpha() for beside in (before, after)):
            return False
    return True
