"""The differences that a parity run found, kept as JSON for `table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from environments import home

from resnets.machine import describe

if TYPE_CHECKING:
    from frameworks import Made


class Figures:
    """Rows by what they compare. A run that stops early has kept what it found; a part replaces its own rows only."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows = rows

    @classmethod
    def load(cls) -> Figures:
        return cls(json.loads(path().read_text())["rows"] if path().is_file() else {})

    def save(self) -> None:
        path().parent.mkdir(parents=True, exist_ok=True)
        path().write_text(json.dumps({"machine": describe(), "rows": self.rows}, indent=1))

    def note(
        self, made: Made, what: str, reader: str, container: str, size: int, theirs: np.ndarray, ours: np.ndarray
    ) -> float:
        """Keep the largest difference of two sets of logits, and give it as a share of their standard deviation.

        what: "in" (the framework's file), "out" (ours), or the name of a broken rule.
        """
        assert theirs.shape == ours.shape
        largest, spread = float(np.abs(theirs - ours).max()), float(theirs.std())
        row = {
            "framework": made.framework.name,
            "network": made.network,
            "what": what,
            "reader": reader,
            "container": container,
            "size": size,
            "largest": largest,
            "spread": spread,
        }
        self.rows[" / ".join(map(str, (made.framework.name, made.network, what, reader, container, size)))] = row
        self.save()
        return largest / spread


def path() -> Path:
    return home() / "differences.json"
