"""What each part of the fast path brings: images per second of a training step, alternating processes.

    python benchmarks/step.py --rounds 3

Each variant runs in a process of its own, since the allocator is set once for a process. The last one is what
`resnets train` does where the processor has AMX, the one before it where it multiplies in bfloat16 without.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time

VARIANTS = {
    "float32, contiguous": "",
    "float32, channels_last": "c",
    "bfloat16, channels_last": "cb",
    "bfloat16, channels_last, fused SGD": "cbf",
    "bfloat16, channels_last, fused SGD, memory kept": "cbfm",
    "the same, short rows' weight gradient by product": "cbfmg",
}
NETWORKS = {"resnet18": (128, 64), "resnet20": (32, 128)}  # image size, batch size


def measure(name, flags):
    """Images per second: the median of the steps after a warm-up."""
    import torch

    from resnets import machine
    from resnets.network import create
    from resnets.training.gradients import ByProduct

    if "m" in flags:
        machine.keep_memory()
    size, batch = NETWORKS[name]
    layout = torch.channels_last if "c" in flags else torch.contiguous_format
    network = create(name, 10, seed=0).train().to(memory_format=layout)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)
    y = torch.randint(0, 10, (batch,))
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=1e-4, fused="f" in flags)
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        product = ByProduct() if "g" in flags else contextlib.nullcontext()
        with torch.autocast("cpu", torch.bfloat16, enabled="b" in flags), product:
            logits = network(x)
        torch.nn.functional.cross_entropy(logits.float(), y).backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - began)
    return batch / statistics.median(seconds[4:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "FLAGS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(measure(*arguments.one))
        return
    from resnets import machine

    print(json.dumps(machine.describe()))
    print(f"| {'network':8} | {'variant':48} | images/s | ratio |\n| --- | --- | ---: | ---: |")
    for name in arguments.networks.split(","):
        rates = {variant: [] for variant in VARIANTS}
        for _ in range(arguments.rounds):
            for variant, flags in VARIANTS.items():
                command = [sys.executable, __file__, "--one", name, flags]
                rates[variant].append(float(subprocess.run(command, check=True, capture_output=True).stdout))
        base = statistics.median(rates["float32, contiguous"])
        for variant, values in rates.items():
            rate = statistics.median(values)
            print(f"| {name:8} | {variant:48} | {rate:8.1f} | {rate / base:5.2f} |", flush=True)


if __name__ == "__main__":
    main()
