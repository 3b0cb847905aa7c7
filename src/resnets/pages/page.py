"""Pages for people: one offline file each, readable on a phone, on paper, in light and in dark.

A page extends `templates/page.html`, which holds the whole style and a policy that lets a browser load nothing from
elsewhere and run no script at all, whatever stands in a class or file name.
"""

from __future__ import annotations

import base64
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from resnets.errors import DataError
from resnets.progress import duration
from resnets.text import printable
from resnets.whole import whole

TEMPLATES = Path(__file__).with_name("templates")
JPEG_QUALITY = 82
SMALL = 64  # pixels: a picture with a shorter side is an enlarged PNG, in which every pixel can be seen
BEGINNING = "<!doctype html>"  # of every page
OURS = b"default-src 'none'; img-src data:"  # in the head of every page of ours, and of few others


def render(template: str, *, folders: tuple[Path, ...] = (), **values: Any) -> str:
    """A template filled in: the text of a page.

    template    its file name, in one of `folders` or in `templates/`; a page extends "page.html" (blocks title, style,
                body)
    values      what the template names. Every string that it shows is made one printable line and escaped; only
                `markupsafe.Markup` passes as it is

    Filters: `percent` (0.744 -> "74.4 %", None -> "-"; `percent(2)` for another number of digits), `count`
    (3925 -> "3,925"), `duration` (seconds -> "3 min 20 s"), `code` (what stands in backquotes as code). Raises
    jinja2.UndefinedError for a name without a value.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, count=lambda number: f"{number:,}", duration=duration, code=code)
    return environment.get_template(template).render(**values)


def percent(share: float | None, digits: int = 1) -> str:
    """0.744 -> '74.4 %'; None -> '-'."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def code(text: str) -> Markup:
    """A sentence in which `...` is a command or a name: that becomes code; all of it is escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))


def picture(pixels: np.ndarray, side: int | None = None) -> str:
    """A data: URI to put into an <img>.

    pixels  (H, W, 3) uint8 RGB
    side    of the longer side, at most; None: as it is. What is smaller than 64 pixels is enlarged by a whole
            factor up to `side`, so that its pixels stay what they are
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    small = min(image.size) < SMALL
    if side is not None and small:
        factor = max(1, side // max(image.size))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    elif side is not None:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if small:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"


def check(path: Path, data: str | None = None) -> None:
    """Raise DataError unless a page can be written there: into a folder that is none of `data`, and over nothing but
    an older page."""
    if not path.parent.is_dir():
        raise DataError(f"There is no folder {printable(str(path.parent))} to write {printable(path.name)} into.")
    if path.is_dir():
        raise DataError(f"{printable(str(path))} is a folder: name a file to write, as in report.html.")
    if path.exists() and not _is_page(path):
        raise DataError(f"{printable(str(path))} is there and is no page of ours: name another file.")
    check_outside(path, data)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as problem:
        raise DataError(
            f"{printable(str(path))} cannot be written ({problem.strerror}): name another place."
        ) from problem


def check_outside(path: Path, data: str | None) -> None:
    """Raise DataError for a place inside a folder of data, which would then have it as one of its files."""
    folder = None if data is None else Path(os.path.expanduser(data))
    if folder is not None and folder.is_dir() and path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{printable(str(path))} would become a part of the data: write it elsewhere.")


def write(path: Path, text: str) -> None:
    """Write a page: whole or not at all. Raises ModelFileError, which says why, when it cannot be written."""
    with whole(path) as file:
        file.write(text.encode())


def _is_page(path: Path) -> bool:
    if not path.is_file():
        return False  # a pipe or a device would hang the reader
    with path.open("rb") as file:
        head = file.read(1024)
    return head.startswith(BEGINNING.encode()) and OURS in head


def _shown(value: Any) -> Any:
    return printable(value) if type(value) is str else value
