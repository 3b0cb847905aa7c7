"""What came of a study, as Python, JSON and its page have it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from resnets import machine
from resnets.studies.found import Found


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What came of a study.

    study       its name
    says        the sentences that are true of these runs
    holds       whether they show what the paper says; None: that cannot be told (yet)
    found       the runs
    page        the page that was written
    left        runs that are still to be made, by the same command
    """

    study: str
    says: str
    holds: bool | None
    found: Found
    page: str
    left: int

    def document(self) -> dict[str, Any]:
        """What `resnets study --json` prints, and study.json holds."""
        found = self.found
        return {
            "study": self.study,
            "says": self.says,
            "holds": self.holds,
            "page": self.page,
            "left": self.left,
            "setting": dataclasses.asdict(found.setting),
            "machine": machine.describe(),
            "networks": [
                {
                    "network": member.name,
                    "series": member.series,
                    "at": member.at,
                    "spec": member.spec.to_dict(),
                    "parameters": found.plans[member.name].parameters,
                    "macs": found.plans[member.name].macs,
                }
                for member in found.members
                if member.name in found.plans
            ],
            "runs": [
                {"network": run.member, **{k: v for k, v in dataclasses.asdict(run).items() if k != "member"}}
                for run in found.runs
            ],
        }
