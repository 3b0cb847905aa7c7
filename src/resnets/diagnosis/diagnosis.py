"""What the doctor says: findings, each with how bad it is, the files, and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnets.data.named import here
from resnets.data.reading import USUAL, Reading
from resnets.text import typed

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is odd about a data set.

    kind        a word or two for programs: "leak", "unreadable", ...
    severity    "error": figures will be wrong, or training will not start; "warning": worth a look before training;
                "note": good to know
    text        what was found, in one sentence that names no more than a few files
    mend        what to do about it
    fixed       whether a cleaned copy (`--fix-into`) is free of it
    paths       all files that it is about, as the source names them
    details     more, fit for JSON, by kind: "groups", "reasons", "scores", ...
    """

    kind: str
    severity: str
    text: str
    mend: str
    fixed: bool = False
    paths: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        own = {name: getattr(self, name) for name in ("kind", "severity", "text", "mend", "fixed")}
        return {**own, "paths": list(self.paths), **self.details}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All findings on one data set, the worst first.

    data        as the user named it
    images      files that are usable images
    findings    see `Finding`
    facts       "classes", "splits" (name to images), "seconds", "thorough"
    reading     how the data was read
    """

    data: str
    images: int
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    reading: Reading = USUAL

    def __post_init__(self) -> None:
        """Put the worst first; of equals the order stays."""
        ordered = sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))
        object.__setattr__(self, "findings", tuple(ordered))

    def __getitem__(self, kind: str) -> Finding:
        """The first finding of a kind; KeyError where there is none."""
        for finding in self.findings:
            if finding.kind == kind:
                return finding
        raise KeyError(kind)

    def __contains__(self, kind: str) -> bool:
        return any(finding.kind == kind for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """{"data", "images", "findings", ...}, fit for JSON."""
        found = [finding.document() for finding in self.findings]
        return {"data": self.data, "images": self.images, **self.facts, "findings": found}

    def reaches(self, severity: str) -> bool:
        """Whether there is a finding of that severity ("error", "warning" or "note") or a worse one."""
        worst = SEVERITIES.index(severity)
        return any(SEVERITIES.index(finding.severity) <= worst for finding in self.findings)

    def line(self) -> str:
        """All of it in one line, for a log; '' when nothing was found."""
        if not self.findings:
            return ""
        said = "; ".join(finding.text.rstrip(".") for finding in self.findings)
        return f"doctor: {said}; see `{typed('resnets', 'doctor', here(self.data))}`"


def count(number: int, what: str, plural: str = "") -> str:
    """'1 image', '1,234 images'."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"
