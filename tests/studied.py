"""Runs of studies that nobody has made, for tests of what is said and drawn of them."""

from __future__ import annotations

from resnets.architecture import plan
from resnets.studies import STUDIES
from resnets.studies.found import Found, Run


def run(member, seed=0, train_top1=0.9, top1=0.9, **more):
    """One training, as `resnets.studies` reads it."""
    line = {"epoch": 1, "loss": 1.0, "taught_top1": train_top1, "top1": top1}
    made = {"images": 1000, "taught": 1000, "seconds": 10.0, "epochs": 1, "course": (line,), **more}
    return Run(member=member, seed=seed, train_top1=train_top1, top1=top1, **made)


def found(study, runs, quick=True):
    """What came of the runs of a study."""
    chosen = STUDIES[study]
    members = tuple(chosen.members(quick))
    plans = {member.name: plan(member.spec, 10, image_size=16) for member in members}
    return Found(setting=chosen.quick, members=members, plans=plans, runs=tuple(runs))
