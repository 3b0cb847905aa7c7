"""What a file says of itself and its network, for a person: anybody's file, a run, or a tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnets.architecture.catalog import name_of
from resnets.text import printable, some
from resnets.weights.assumed import prepared
from resnets.weights.model import Model
from resnets.weights.transfer import open_source

NAMED = 5  # classes that are named


@dataclass(frozen=True, kw_only=True)
class Described:
    """A file that was opened: who named its tensors ("resnets": our own model file), and what it holds."""

    source: str
    dialect: str
    model: Model

    def facts(self) -> list[tuple[str, str]]:
        """(what, in words), of what is known."""
        model, said = self.model, self.model.provenance.to_dict()
        metrics, pretrained = _table(said, "metrics"), _table(said, "pretrained")
        found: list[tuple[str, Any]] = [
            ("file", f"{self.source} ({self.dialect})"),
            ("network", name_of(model.network.plan.spec) or "one that the catalog has no name for"),
            ("classes", f"{len(model.classes)}: {some(model.classes, NAMED)}"),
            ("pictures", _pictures(model)),
            ("trained on", _table(said, "dataset").get("name")),
            ("epochs", said.get("epochs")),
            ("seed", said.get("seed")),
            ("top-1", f"{100 * metrics['top1']:.1f} %" if isinstance(metrics.get("top1"), float) else None),
            ("started from", said.get("weights")),
            ("weights", pretrained.get("tag") or pretrained.get("name")),
            ("licence", pretrained.get("licence")),
            ("source", pretrained.get("source")),
        ]
        return [(what, printable(str(value))) for what, value in found if value not in (None, "")]

    def document(self) -> dict[str, Any]:
        """The same for JSON, whole."""
        return {
            "source": self.source,
            "dialect": self.dialect,
            "network": name_of(self.model.network.plan.spec),
            "classes": list(self.model.classes),
            "preprocessing": self.model.preprocessing.to_dict(),
            "provenance": self.model.provenance.to_dict(),
        }


def described(source: str) -> Described:
    """Open a file, a run's folder or a tag. Raises ModelFileError, FetchError."""
    job = open_source(source)
    return Described(source=source, dialect="resnets" if job.found is None else job.found.dialect.name, model=job.model)


def _table(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _pictures(model: Model) -> str:
    channels = model.network.plan.in_channels
    return prepared(model.preprocessing) if channels == 3 else "in grey" if channels == 1 else f"of {channels} channels"
