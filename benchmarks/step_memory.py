"""What a training step takes of memory and time: as it is, with units computed again, and in parts.

    python benchmarks/step_memory.py --rounds 3

Each variant runs in a process of its own, in turns. Peak: what the process had at most in its steps above what it had
before them, the network and its images included. Foreseen: what `resnets.training.memory` says of it beforehand.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

NETWORKS = {"resnet18": (128, 64), "resnet50": (128, 32), "resnet110": (32, 128), "resnet1202": (32, 32)}
VARIANTS = {
    "as it is": (False, 1),
    "computed again": (True, 1),
    "two parts": (False, 2),
    "computed again, four parts": (True, 4),
}


def resident(key):
    """Bytes: VmRSS, now, or VmHWM, at most so far (Linux)."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def measure(name, recompute, accumulate):
    """{"peak", "foreseen", "seconds"}: bytes, and the median of three steps after a first one."""
    import torch

    import resnets
    from resnets import machine
    from resnets.training.memory import Memory
    from resnets.training.recipe import Recipe
    from resnets.training.schedule import Schedule
    from resnets.training.state import State
    from resnets.training.step import Step

    size, batch = NETWORKS[name]
    precision, recipe = machine.fastest_precision("cpu"), Recipe()
    memory = Memory(recompute=recompute, accumulate=accumulate)
    state = State(resnets.create(name, 10, seed=0), recipe, precision=precision, memory=memory)
    step = Step(state, recipe, Schedule(99, 99), precision=precision)
    x, labels = torch.randn(batch, 3, size, size), torch.randint(0, 10, (batch,))
    x = x.contiguous(memory_format=torch.channels_last)
    step(x[:4], labels[:4])  # what the library sets up once
    before, seconds = resident("VmRSS"), []
    for _ in range(4):
        began = time.perf_counter()
        step(x, labels)
        seconds.append(time.perf_counter() - began)
    foreseen = memory.needed(resnets.plan(name, 10, image_size=size), batch, precision)
    return {
        "peak": resident("VmHWM") - before,
        "foreseen": foreseen,
        "seconds": statistics.median(seconds[1:]),
        "precision": precision,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, recompute, accumulate = arguments.one
        print(json.dumps(measure(name, recompute == "True", int(accumulate))))
        return
    from resnets import machine

    print(json.dumps(machine.describe()))
    print("| network, pixels, batch | variant | peak, MB | foreseen, MB | step | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in arguments.networks.split(","):
        found = {variant: [] for variant in VARIANTS}
        for _ in range(arguments.rounds):
            for variant, how in VARIANTS.items():
                command = [sys.executable, __file__, "--one", name, *map(str, how)]
                found[variant].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        base = statistics.median(one["seconds"] for one in found["as it is"])
        size, batch = NETWORKS[name]
        for variant, values in found.items():
            peak, foreseen, seconds = (
                statistics.median(one[key] for one in values) for key in ("peak", "foreseen", "seconds")
            )
            print(
                f"| {name}, {size}, {batch} | {variant} | {peak / 1e6:,.0f} | {foreseen / 1e6:,.0f} | "
                f"{seconds:.2f} s | {seconds / base:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
