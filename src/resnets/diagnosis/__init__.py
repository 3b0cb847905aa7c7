"""What is wrong with a data set, before anything is trained on it: files, duplicates, splits, labels."""

from resnets.diagnosis.diagnosis import Diagnosis, Finding
from resnets.diagnosis.examine import doctor, quick

__all__ = ["Diagnosis", "Finding", "doctor", "quick"]
