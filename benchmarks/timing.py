"""How long a call takes, for the benchmarks that time calls in one process."""

import statistics
import time


def median(function, times=5):
    """Seconds that a call takes: the median of so many, after one that does not count."""
    seconds = []
    for _ in range(times + 1):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])
