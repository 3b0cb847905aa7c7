"""How near a training step comes to what its convolutions alone would allow, and where the rest of its time goes.

    python benchmarks/limit.py --rounds 3

The limit: every convolution of the network timed alone, forward, gradient of its input, gradient of its weights, each
in the fastest of its exact forms (the library's own; the input's gradient as a forward convolution with turned weights;
the weights' gradient as one product of gathered pixels, or as a product for each place of the kernel), and added up.
The step: what `resnets train` makes. Plain: the same network in float32, as torch lays it out, with its allocator as it
is. Every side of a round in a process of its own; medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import Counter

from timing import median

CASES = {  # name: (network, image size, batch)
    "resnet18, 128": ("resnet18", 128, 64),
    "resnet18, 224": ("resnet18", 224, 32),
    "resnet50, 128": ("resnet50", 128, 32),
    "resnet50, 224": ("resnet50", 224, 16),
    "resnet20, 32": ("resnet20", 32, 128),
}
KINDS = {"convolution": "convolution", "batch_norm": "norms", "relu": "relu", "threshold": "relu", "add": "additions"}


def convolutions(network, size):
    """(in, out, kernel, stride, padding, pixels, groups, whether its input has a gradient): how often."""
    import resnets
    from resnets.architecture.rows import INPUT

    rows = [row for row in resnets.plan(network, 10, image_size=size).rows if row.kind == "conv"]
    return Counter(
        (r.in_channels, r.out_channels, r.kernel, r.stride, int(r.padding), r.input[1], r.groups, INPUT not in r.reads)
        for r in rows
    )


def forms(shape, batch, kind):
    """{"forward", "input", "weights"}: {form: a call}."""
    import torch

    from resnets.training.gradients import _weights

    inputs, outputs, kernel, stride, pad, pixels, groups, below = shape

    def tensor(*sizes):
        return torch.randn(*sizes).to(kind).contiguous(memory_format=torch.channels_last)

    x, weight = tensor(batch, inputs, pixels, pixels), tensor(outputs, inputs // groups, kernel, kernel)
    g = torch.randn_like(torch.conv2d(x, weight, None, stride, pad, 1, groups))

    def own(*wanted):
        what = (g, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, wanted)
        return torch.ops.aten.convolution_backward(*what)

    turned = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    found = {
        "forward": {"own": lambda: torch.conv2d(x, weight, None, stride, pad, 1, groups)},
        "input": {"own": lambda: own(True, False, False)} if below else {},
        "weights": {"own": lambda: own(False, True, False)},
    }
    if groups == 1:
        if below and stride == 1:
            found["input"]["turned"] = lambda: torch.conv2d(g, turned, None, 1, kernel - 1 - pad)
        found["weights"]["gathered"] = lambda: _weights(x, g, weight.shape, stride, pad)
        found["weights"]["shifted"] = lambda: shifted(x, g, kernel, stride, pad)
    return found


def shifted(x, g, kernel, stride, pad):
    """The gradient of weights, a product for each place of the kernel."""
    import torch
    import torch.nn.functional as F

    pixels = F.pad(x, [pad] * 4).permute(0, 2, 3, 1)
    height, width = g.shape[2:]
    flat = g.permute(0, 2, 3, 1).reshape(-1, g.shape[1]).t()
    made = [
        flat @ pixels[:, i : i + stride * height : stride, j : j + stride * width : stride].reshape(-1, x.shape[1])
        for i in range(kernel)
        for j in range(kernel)
    ]
    return torch.stack(made, -1).unflatten(-1, (kernel, kernel))


def limit(case):
    """{"seconds", "parts"}: of all convolutions in their fastest forms, and by what and form."""
    import torch

    from resnets import machine

    machine.keep_memory()
    network, size, batch = CASES[case]
    kind = getattr(torch, machine.fastest_precision("cpu"))
    parts = Counter()
    for shape, count in convolutions(network, size).items():
        for what, calls in forms(shape, batch, kind).items():
            seconds = {form: median(call) for form, call in calls.items()}
            if seconds:
                form = min(seconds, key=seconds.get)
                parts[f"{what}, {form}"] += count * seconds[form]
    return {"seconds": sum(parts.values()), "parts": dict(parts)}


def job(case, precision):
    """What a side is told to do."""
    import resnets
    from resnets.benchmark.job import Job

    network, size, _ = CASES[case]
    about = {"model": network, "catalog": network, "classes": resnets.plan(network).num_classes}
    return Job(who="a side", task="train", precision=precision, image_size=size, **about)


def step(case, profiled=False):
    """{"seconds", "parts"}: of a step as `resnets train` makes it, and by kind of operation if it is profiled."""
    from resnets.benchmark.ours import maker
    from resnets.machine import fastest_precision

    work = maker(job(case, fastest_precision("cpu")))(CASES[case][2])
    seconds, parts = median(work, 9), Counter()
    if profiled:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU]) as seen:
            work()
        for event in seen.key_averages():
            name = event.key.lower()
            kind = next((said for word, said in KINDS.items() if word in name), "other")
            parts[kind] += event.self_cpu_time_total / 1e6
    return {"seconds": seconds, "parts": dict(parts)}


def plain(case):
    """{"seconds"}: of a step as tutorials have it."""
    from resnets.benchmark.plain import maker

    return {"seconds": median(maker(job(case, "float32"))(CASES[case][2]))}


SIDES = {"limit": limit, "step": step, "plain": plain, "profile": lambda case: step(case, profiled=True)}


def run(side, case):
    """What a side finds, in a process of its own."""
    command = [sys.executable, __file__, "--one", side, case]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shares(parts):
    """In words, the largest first."""
    total = sum(parts.values())
    told = [(name, value / total) for name, value in Counter(parts).most_common()]
    return ", ".join(f"{name} {share:.0%}" for name, share in told if share > 0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        side, case = arguments.one
        print(json.dumps(SIDES[side](case)))
        return
    from resnets import machine

    print(json.dumps(machine.describe()))
    print("| network, pixels | plain float32 | our step | ratio | limit of its convolutions | share of the limit |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    notes = []
    for case in arguments.cases:
        found = [{side: run(side, case) for side in ("plain", "step", "limit")} for _ in range(arguments.rounds)]
        batch = CASES[case][2]
        ratios = [one["plain"]["seconds"] / one["step"]["seconds"] for one in found]
        near = [one["limit"]["seconds"] / one["step"]["seconds"] for one in found]
        rates = {side: batch / statistics.median(one[side]["seconds"] for one in found) for side in found[0]}
        print(
            f"| {case} | {rates['plain']:.1f} images/s | {rates['step']:.1f} | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {rates['limit']:.1f} | "
            f"{statistics.median(near):.0%} ({min(near):.0%} to {max(near):.0%}) |",
            flush=True,
        )
        notes.append(f"{case}: the limit is {shares(found[0]['limit']['parts'])}")
        notes.append(f"{case}: the step is {shares(run('profile', case)['parts'])}")
    print("\n".join(["", *notes]))


if __name__ == "__main__":
    main()
