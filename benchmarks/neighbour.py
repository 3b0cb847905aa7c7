"""The pace of a training and of predictions beside a busy process, as a share of the pace alone.

    python benchmarks/neighbour.py --rounds 3

The training is the step of `resnets train` on noise, the predictions are the torch engine's; each alone and beside one
process that only counts, in turns. Then two at once. "fixed": with RESNETS_THREADS=fixed, as many threads as cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from resnets import machine

BUSY = "while True: pass"
TRAIN = """
import sys, time, torch
from resnets.inference.session import torch_shared
from resnets.benchmark.job import Job
from resnets.benchmark.ours import maker
seconds, task = float(sys.argv[1]), sys.argv[2]
job = Job(who="resnets" if task == "train" else "resnets torch", task=task, model="resnet18", catalog="resnet18",
          classes=1000, image_size=96, precision=sys.argv[3])
work = maker(job)(32)
if task == "infer":
    from resnets.inference.session import Session
    from resnets.benchmark.job import noise
    from resnets.benchmark.ours import _engine
    from resnets.benchmark.plain import open_model
    session, x = Session(_engine(job, open_model("resnet18", 96), 32)), noise(32, 96)
    work = lambda: session(x)
work(), work()
with torch_shared() as look:
    end, calls, began = time.perf_counter() + seconds, 0, time.perf_counter()
    while time.perf_counter() < end:
        if task == "train":
            look()
        work()
        calls += 1
    print(32 * calls / (time.perf_counter() - began))
"""


def start(task, seconds, threads, precision):
    environment = {**os.environ, "RESNETS_THREADS": threads, "OMP_NUM_THREADS": str(machine.cores())}
    command = [sys.executable, "-c", TRAIN, str(seconds), task, precision]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def pace(*processes):
    """Images/s of each."""
    return [float(one.communicate()[0]) for one in processes]


def beside(task, seconds, threads, precision):
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.2)
        return pace(start(task, seconds, threads, precision))[0]
    finally:
        busy.kill()
        busy.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    arguments = parser.parse_args()
    seconds, precision = arguments.seconds, machine.fastest_precision("cpu")
    found = {}
    for _ in range(arguments.rounds):
        for task in ("train", "infer"):
            alone = pace(start(task, seconds, "", precision))[0]
            found.setdefault((task, "beside a busy process"), []).append(beside(task, seconds, "", precision) / alone)
            found.setdefault((task, "the same, fixed"), []).append(beside(task, seconds, "fixed", precision) / alone)
            two = pace(start(task, seconds, "", precision), start(task, seconds, "", precision))
            found.setdefault((task, "two at once, each"), []).append(min(two) / alone)
    print(json.dumps(machine.describe()))
    print("| resnet18, 96 pixels, batch 32 | | share of the pace alone | lowest and highest |")
    print("| --- | --- | ---: | ---: |")
    for (task, what), shares in found.items():
        print(f"| {task} | {what} | {statistics.median(shares):.2f} | {min(shares):.2f} to {max(shares):.2f} |")


if __name__ == "__main__":
    main()
