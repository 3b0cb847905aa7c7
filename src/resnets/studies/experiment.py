"""What a study is: networks to train alike, what to draw of their runs, and the sentence that is true of them.

Each study of the papers is one small file beside this one; `run.py` trains, `found.py` holds what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from resnets.pages.plot import Plot
from resnets.studies.design import Member, Setting
from resnets.studies.found import Found
from resnets.training import Observer

Holds = Literal[True, False] | None


@dataclass(frozen=True, kw_only=True)
class Study:
    """One experiment of a paper.

    name, title     as it is typed, and the head of its page
    source          the papers and where in them
    asks            the question, in a sentence or two
    axis            what `Member.at` is, in words
    members         the networks, of the quick form (True) or the full one
    quick, full     how they are trained
    says            what is true of the runs: sentences, and whether they show what the paper says; None: cannot be told
    draws           the figures
    observer        what looks on in every run; None: nothing more than usual
    measures        what figures of it begin with, in the first and in the last epoch
    first           the networks that `says` cannot do without, which are trained before the others; none: all
    """

    name: str
    title: str
    source: str
    asks: str
    axis: str
    members: Callable[[bool], Sequence[Member]]
    quick: Setting
    full: Setting
    says: Callable[[Found], tuple[str, Holds]]
    draws: Callable[[Found], Iterable[Plot]]
    observer: Callable[[], Observer] | None = None
    measures: tuple[str, str] | None = None
    first: tuple[str, ...] = ()
