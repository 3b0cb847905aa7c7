"""The weight gradient of convolutions in bfloat16: torch's own (oneDNN) beside one matrix product.

    python benchmarks/convolutions.py --batch 64

Milliseconds, medians of five after one that does not count, both in one process.
"""

import argparse
import json

import torch
from timing import median

from resnets import machine
from resnets.training.gradients import _weights

LAYERS = [  # input channels, output channels, kernel, stride, pixels
    *((512, 512, 3, 1, 3), (512, 512, 3, 1, 4), (512, 512, 3, 1, 7), (256, 512, 3, 2, 8), (256, 512, 1, 2, 8)),
    *((512, 2048, 1, 1, 4), (2048, 512, 1, 1, 4), (256, 256, 3, 1, 8), (128, 256, 3, 2, 16), (256, 1024, 1, 1, 8)),
    *((256, 256, 3, 1, 14), (128, 128, 3, 1, 16), (64, 64, 3, 1, 32)),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    batch = parser.parse_args().batch
    machine.keep_memory()
    print(json.dumps(machine.describe()))
    print("| channels | kernel | stride | pixels | GFLOP | torch, ms | product, ms | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for inputs, outputs, kernel, stride, pixels in LAYERS:
        pad = kernel // 2
        x = torch.randn(batch, inputs, pixels, pixels).bfloat16().contiguous(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, kernel, kernel).bfloat16().contiguous(memory_format=torch.channels_last)
        g = torch.randn_like(torch.conv2d(x, weight, None, stride, pad))
        what = (g, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, [False, True, False])
        own = median(lambda what=what: torch.ops.aten.convolution_backward(*what))
        product = median(lambda x=x, g=g, w=weight, s=stride, p=pad: _weights(x, g, w.shape, s, p))
        work = 2 * g.numel() * inputs * kernel**2 / 1e9
        row = (
            f"{kernel} | {stride} | {pixels} | {work:.1f} | {1e3 * own:.1f} | {1e3 * product:.1f} | {own / product:.2f}"
        )
        print(f"| {inputs} to {outputs} | {row} |", flush=True)


if __name__ == "__main__":
    main()
