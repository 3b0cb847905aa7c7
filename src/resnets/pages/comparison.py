"""Two models on the same images, as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets import __version__
from resnets.pages import page


def write(path: Path, document: Mapping[str, Any], data: str) -> None:
    """Write what `evaluation.comparison.compare` returned as a page. Raises WriteError when it cannot be written."""
    text = page.render("comparison.html", document=document, data=Path(data).name or data, version=__version__)
    page.write(path, text)
