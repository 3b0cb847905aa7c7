"""Predictions -> judgement."""

from resnets.evaluation.calibration import calibrate
from resnets.evaluation.comparison import Comparison, compare
from resnets.evaluation.evaluation import Evaluation, evaluate
from resnets.evaluation.judging import Judgement, judge
from resnets.evaluation.metrics import measure

__all__ = ["Comparison", "Evaluation", "Judgement", "calibrate", "compare", "evaluate", "judge", "measure"]
