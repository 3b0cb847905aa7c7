"""Predictions -> judgement."""

from resnets.evaluation.calibration import calibrate
from resnets.evaluation.judging import Judgement, evaluate, judge, judge_data
from resnets.evaluation.metrics import measure

__all__ = ["Judgement", "calibrate", "evaluate", "judge", "judge_data", "measure"]
