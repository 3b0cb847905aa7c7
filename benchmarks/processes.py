"""The steps of a training in one process and in two on this machine, beside what docs/concepts/scaling.md foresees.

    python benchmarks/processes.py --rounds 3

One: a process with all cores makes whole batches. Half: a process with half of the cores makes half of each batch, and
another one beside it does so too, without a word between them. Two: both make the steps of one training, and add their
gradients up. Adding up: that alone. Foreseen for two: half, and adding up. In turns; medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys

from timing import median

CASES = {"resnet20": (32, 128), "resnet18": (64, 64)}  # image size, batch


def measure(name, halved):
    """Seconds of a step, and of adding up; of this process, or of the group that torchrun has started."""
    import torch

    import resnets
    from resnets import machine
    from resnets.training import wide
    from resnets.training.recipe import Recipe
    from resnets.training.schedule import Schedule
    from resnets.training.state import State
    from resnets.training.step import Step

    machine.keep_memory()
    size, batch = CASES[name]
    with wide.processes(1) as group:
        if halved:
            torch.set_num_threads(max(1, machine.cores() // 2))
        own = batch // 2 if halved or group else batch
        recipe, precision = Recipe(), machine.fastest_precision("cpu")
        state = State(resnets.create(name, 10, seed=0), recipe, precision=precision)
        step = Step(state, recipe, Schedule(10**6, 10**6), precision=precision, wide=group)
        x = torch.randn(own, 3, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.arange(own) % 10
        step(x, labels)
        loss = step.backward(x, labels)  # leaves gradients to add up
        adding = median(lambda: group.average(state.network, loss, float(own), state.memory), 7) if group else 0.0
        state.optimiser.zero_grad()
        found = {"step": median(lambda: step(x, labels), 9), "adding": adding}
        if group is None or group.leads:
            print(json.dumps(found), flush=True)


def run(name, how):
    """What one of the ways takes."""
    if how == "two":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        processes = [[*torchrun, __file__, "--one", name, "whole"]]
    else:
        processes = [[sys.executable, __file__, "--one", name, how]] * (2 if how == "half" else 1)
    started = [subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for one in processes]
    found = []
    for process in started:
        out, said = process.communicate()
        if process.returncode:
            raise SystemExit(said)
        found.append(json.loads(out.strip().splitlines()[-1]))
    return {key: statistics.mean(one[key] for one in found) for key in found[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one[0], arguments.one[1] == "half")
        return
    from resnets import machine

    print(json.dumps(machine.describe()))
    print("| network, pixels, batch | one | two | ratio | half | adding up | foreseen for two |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, (size, batch) in CASES.items():
        rounds = [{how: run(name, how) for how in ("whole", "half", "two")} for _ in range(arguments.rounds)]
        one, half, two = (statistics.median(each[how]["step"] for each in rounds) for how in ("whole", "half", "two"))
        adding = statistics.median(each["two"]["adding"] for each in rounds)
        ratios = [each["whole"]["step"] / each["two"]["step"] for each in rounds]
        print(
            f"| {name}, {size}, {batch} | {1e3 * one:.0f} ms | {1e3 * two:.0f} ms | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {1e3 * half:.0f} ms | {1e3 * adding:.1f} ms | "
            f"{1e3 * (half + adding):.0f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
