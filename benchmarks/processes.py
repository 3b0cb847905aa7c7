"""What a training costs in one process and in two, and a model of what it costs in more.

    python benchmarks/processes.py cifar10.zip --model resnet20 --rounds 3
    python benchmarks/processes.py photos/ --model resnet18 --image-size 128 --batch 64 --rounds 3

Each side is `resnets train DATA --processes N`, of which the steps of one epoch are read from the log (the first ten
left out), in turns. Beside it: one process alone with as many threads and images as one of two has, and the time that
two processes take to add up as many numbers as a step sends. The model is

    seconds(N) = seconds of one process with batch / N images + seconds of adding up

and its error for two processes is printed. Beyond one machine, the second part is about 2 (N - 1) / N x bytes / (bytes
per second of the slowest link): put in your own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import resnets
from resnets import machine

SKIPPED = 10  # steps at the beginning
ADD = """
import os, sys, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
x, times = torch.rand(int(sys.argv[1])), []
for _ in range(30):
    began = time.perf_counter()
    dist.all_reduce(x)
    times.append(time.perf_counter() - began)
if dist.get_rank() == 0:
    print(sorted(times)[15])
dist.destroy_process_group()
"""


def step(arguments, processes, batch, threads, most):
    """Seconds of a step: the median of those of one epoch, or of as many as `most`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "resnets", "-q", "train", arguments.data, "--model", arguments.model]
        command += ["--weights", "none", "--recipe", "paper-cifar", "--epochs", "1", "--out", f"{folder}/run"]
        command += ["--set", f"batch_size={batch}", "--processes", str(processes)]
        command += ["--image-size", str(arguments.image_size)] if arguments.image_size else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "RESNETS_THREADS": "fixed"}
        log = Path(folder, "run", "log.jsonl")
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(0.5)
            if log.exists() and len(log.read_text().splitlines()) >= most + SKIPPED:
                process.terminate()
        process.wait()
        lines = [json.loads(line) for line in log.read_text().splitlines()[: most + SKIPPED]]
    return statistics.median([line["seconds"] for line in lines if line["kind"] == "step"][SKIPPED:])


def adding(numbers):
    """Seconds in which two processes add up so many float32."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "add.py")
        script.write_text(ADD)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
        return float(subprocess.run([*command, str(numbers)], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    cores, batch = machine.cores(), arguments.batch
    network = resnets.create(arguments.model)
    numbers = sum(one.numel() for one in [*network.parameters(), *network.buffers()])
    found = {"one": [], "two": [], "half alone": [], "adding": []}
    for _ in range(arguments.rounds):
        found["one"].append(step(arguments, 1, batch, cores, arguments.steps))
        found["two"].append(step(arguments, 2, batch, cores // 2, arguments.steps))
        found["half alone"].append(step(arguments, 1, batch // 2, cores // 2, arguments.steps))
        found["adding"].append(adding(numbers))
    print(json.dumps(machine.describe()), torch.__version__)
    for name, seconds in found.items():
        middle, least, most = (1000 * of(seconds) for of in (statistics.median, min, max))
        print(f"{name}: {middle:.1f} ms ({least:.1f} to {most:.1f})")
    one, two, half, adds = (statistics.median(found[name]) for name in found)
    print(f"{4 * numbers / 1e6:.1f} MB a step; one process {batch / one:.0f}, two {batch / two:.0f} images/s")
    error = (half + adds) / two - 1
    print(f"model for two: {1000 * (half + adds):.1f} ms, measured {1000 * two:.1f} ms ({error:+.0%})")


if __name__ == "__main__":
    main()
