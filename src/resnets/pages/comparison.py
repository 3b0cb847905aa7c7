"""Two models on the same images, as a page."""

from __future__ import annotations

from pathlib import Path

from resnets import __version__
from resnets.evaluation import Comparison
from resnets.evaluation.significance import shown
from resnets.pages import page


def write(path: Path, comparison: Comparison, data: str) -> None:
    """Write a comparison as a page. Raises WriteError when it cannot be written."""
    text = page.render(
        "comparison.html",
        document=comparison.document(),
        shown=shown,
        data=Path(data).absolute().name or data,
        version=__version__,
    )
    page.write(path, text)
