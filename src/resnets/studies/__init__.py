"""The experiments of the papers, one small file each, and the engine that runs them."""

from resnets.studies.catalog import STUDIES
from resnets.studies.result import StudyResult
from resnets.studies.run import study

__all__ = ["STUDIES", "StudyResult", "study"]
