"""The diagnosis as a page, with the pictures that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.decode import decode
from resnets.data.open import open_source
from resnets.data.source import Source
from resnets.diagnosis.diagnosis import Diagnosis, Finding
from resnets.errors import ImageError
from resnets.pages import page

SIDE = 160  # pixels of a picture on the page
GROUPS = 24  # groups of copies shown of each kind
COPIES = 4  # of one group
SUSPECTS = 200
OTHERS = 24  # pictures of any other finding
PATHS = 200  # names listed of a finding

check = page.check


def write(path: Path, diagnosis: Diagnosis) -> None:
    """Write one offline HTML file. Raises DataError or ModelFileError where it cannot be written."""
    source = None if "layout" in diagnosis else open_source(diagnosis.data, quiet=True, reading=diagnosis.reading)
    shown = _Shown(source, diagnosis.facts.get("full_scale"))
    sections = [_section(finding, shown) for finding in diagnosis.findings]
    page.write(path, page.render("doctor.html", diagnosis=diagnosis, sections=sections))


@dataclass(frozen=True)
class _Shown:
    """Where pictures are read, if they can be, and what is white in those of more than eight bits."""

    source: Source | None
    white: float | None


def _section(finding: Finding, place: _Shown) -> dict[str, Any]:
    """What the template shows of a finding: rows of pictures, and names."""
    details = finding.details
    if "groups" in details:
        groups = details["groups"][:GROUPS]
        rows = [_row([_picture(place, key) for key in group[:COPIES]], len(group) - COPIES) for group in groups]
        left = len(details["groups"]) - len(rows)
    elif "suspects" in details:
        shown = details["suspects"][:SUSPECTS]
        rows = [_row([_picture(place, one["path"], (one["label"], one["suggested"]))]) for one in shown]
        left = len(details["suspects"]) - len(rows)
    elif finding.kind in ("unreadable", "misplaced"):
        rows, left = [], 0
    else:
        rows = [_row([_picture(place, key)]) for key in finding.paths[:OTHERS]]
        left = len(finding.paths) - len(rows)
    names = [
        {"path": path, "why": why}
        for path, why in zip(finding.paths[:PATHS], details.get("reasons", [""] * len(finding.paths)), strict=False)
    ]
    return {"finding": finding, "rows": rows, "left": left, "names": names, "unnamed": len(finding.paths) - len(names)}


def _row(pictures: list[dict[str, Any]], more: int = 0) -> dict[str, Any]:
    """Pictures side by side, and how many of their kind are not shown."""
    return {"pictures": pictures, "more": max(more, 0)}


def _picture(shown: _Shown, key: str, caption: tuple[str, ...] = ()) -> dict[str, Any]:
    """A picture, its name and the class that it has and looks like; `uri` is None for one that cannot be read any more.

    Each class by itself, so that an arrow between names that are written from the right keeps its direction.
    """
    try:
        pixels = np.asarray(decode(shown.source.read(key), shown.white)) if shown.source else None
    except ImageError:
        pixels = None
    return {"key": key, "uri": None if pixels is None else page.picture(pixels, SIDE), "caption": caption}
