"""Two models on the same images, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnets import __version__
from resnets.evaluation import Comparison
from resnets.evaluation.significance import shown
from resnets.pages import charts, page, provenance
from resnets.weights.runlog import until


def write(path: Path, comparison: Comparison, data: str, models: Sequence[str] = ()) -> None:
    """Write a comparison as a page. Raises WriteError when it cannot be written.

    models      as they were named; of those that are run folders the learning curves are drawn, in one plot
    """
    logs = []
    for model in models:
        record, log = provenance.read_run(Path(model)) if Path(model).is_dir() else (None, [])
        logs.append(until(log, record))
    text = page.render(
        "comparison.html",
        document=comparison.document(),
        shown=shown,
        curves=charts.together(logs),
        data=Path(data).absolute().name or data,
        version=__version__,
    )
    page.write(path, text)
