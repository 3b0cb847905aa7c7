"""How fast are we, and how fast are others, measured side by side in one run?"""

from resnets.benchmark.measure import PEERS, TASKS, bench
from resnets.benchmark.result import BenchResult, Speed

__all__ = ["PEERS", "TASKS", "BenchResult", "Speed", "bench"]
