"""Predictions -> judgement."""

from resnets.evaluation.judging import evaluate, judge
from resnets.evaluation.metrics import measure

__all__ = ["evaluate", "judge", "measure"]
