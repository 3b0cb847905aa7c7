"""The names in a .zip, which only newer packers write in UTF-8 and say so.

What does not say so and is UTF-8 all the same, is taken for it. The other names are bytes of the code page of some
computer: all together they are read as the first of `PAGES` in which each of their characters is a letter of that
page's script, and stands at no ASCII letter (chance does that); else as cp437, as the format has it.
"""

from __future__ import annotations

import unicodedata
import zipfile
from collections.abc import Iterable, Sequence

# Code page, what Unicode calls its letters, and whether they may stand in one word with ASCII letters.
PAGES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("cp866", ("CYRILLIC", "NUMERO"), False),
    ("cp932", ("HIRAGANA", "KATAKANA", "CJK", "FULLWIDTH", "IDEOGRAPHIC"), False),
    ("gb2312", ("CJK", "FULLWIDTH", "IDEOGRAPHIC"), False),
    ("cp850", ("LATIN",), True),
)


def zip_names(infos: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """(the entries' names, with "/", the code page of those that are not UTF-8; "" where all are)."""
    names = [info.filename for info in infos]
    foreign: dict[int, bytes] = {}
    for place, info in enumerate(infos):
        if not info.flag_bits & 0x800 and not info.filename.isascii():
            raw = info.filename.encode("cp437")  # in which the standard library has read it
            try:
                names[place] = raw.decode()
            except UnicodeDecodeError:
                foreign[place] = raw
    page = _page(foreign.values()) if foreign else ""
    for place, raw in foreign.items():
        names[place] = raw.decode(page)
    return [name.replace("\\", "/") for name in names], page


def _page(names: Iterable[bytes]) -> str:
    different = set(names)
    for page, scripts, mixes in PAGES:
        try:
            if all(_is_text(raw.decode(page), scripts, mixes) for raw in different):
                return page
        except UnicodeDecodeError:
            continue
    return "cp437"


def _is_text(name: str, scripts: tuple[str, ...], mixes: bool) -> bool:
    for before, letter, after in zip(f" {name}", name, f"{name[1:]} ", strict=False):
        if letter.isascii():
            continue
        if not unicodedata.name(letter, "").startswith(scripts):
            return False
        if not mixes and any(beside.isascii() and beside.isalpha() for beside in (before, after)):
            return False
    return True
