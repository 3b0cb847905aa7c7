"""What a network says of each picture that has learned from the others only; it takes a large set to learn from.

The pictures are dealt into three parts, and a small network learns from two of them what to say of the third. Its
first layer is not trained (`patches.maps`), so that a minute or two is enough.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.diagnosis.patches import SCALES, maps
from resnets.machine import fastest_precision
from resnets.progress import track

PARTS = 3
BATCH = 64
EPOCHS = 7
STEPS = (200, 1000)  # at least, and from which on fewer epochs will do, but never fewer than two
RATE, DECAY, SMOOTHING, DROPOUT = 0.15, 1e-3, 0.1, 0.3
WIDTH = 128  # channels


def answers(thumbs: Tensor, labels: Tensor) -> np.ndarray:
    """(N, classes) logits for each picture by a network that did not learn from it."""
    part = torch.from_numpy(np.random.default_rng(2).permutation(len(labels)) % PARTS)
    per_epoch = max(1, len(labels) * (PARTS - 1) // PARTS // BATCH)
    steps = min(max(EPOCHS * per_epoch, STEPS[0]), max(STEPS[1], 2 * per_epoch))
    found = torch.empty(len(labels), int(labels.max()) + 1)
    with track("looking at patches", len(labels) * len(SCALES), "steps") as advance:
        described = maps(thumbs, advance)
    with track("looking at labels", PARTS * steps, "steps") as advance, torch.random.fork_rng(devices=[]):
        for number in range(PARTS):
            torch.manual_seed(number)
            learn, judge = (part != number).nonzero()[:, 0], (part == number).nonzero()[:, 0]
            network = _trained(described, labels, learn, steps, found.shape[1], advance)
            found[judge] = _judged(network, described, judge)
    return found.numpy()


def _trained(
    described: Tensor, labels: Tensor, chosen: Tensor, steps: int, classes: int, advance: Callable[[int], object]
) -> nn.Module:
    """A network for (B, D, GRID, GRID) maps, trained on the `chosen` pictures."""
    network: nn.Module = nn.Sequential(
        *_convolution(described.shape[-1], WIDTH),
        nn.MaxPool2d(2),
        *_convolution(WIDTH, 2 * WIDTH),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(DROPOUT),
        nn.Linear(2 * WIDTH, classes),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(network.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    order = torch.cat([torch.randperm(len(chosen)) for _ in range(-(-steps * BATCH // len(chosen)))])
    for step in range(steps):
        rows = chosen[order[step * BATCH : (step + 1) * BATCH]]
        mirrored = torch.randint(2, (len(rows),))
        down, across = torch.randint(-1, 2, (2,)).tolist()
        x = described[rows, mirrored].roll((down, across), (1, 2)).permute(0, 3, 1, 2)
        loss = F.cross_entropy(_logits(network, x), labels[rows], label_smoothing=SMOOTHING)
        for group in optimiser.param_groups:  # up for a fifth of the time, then down to nothing
            group["lr"] = RATE * min((step + 1) / (0.2 * steps), (steps - step) / (0.8 * steps))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        advance(1)
    network.eval()
    return network


def _convolution(inside: int, outside: int) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


@torch.no_grad()
def _judged(network: nn.Module, described: Tensor, chosen: Tensor) -> Tensor:
    """(B, classes): the mean over the picture and its mirror image."""
    found = []
    for rows in torch.split(chosen, 4 * BATCH):
        views = described[rows].flatten(0, 1).permute(0, 3, 1, 2)
        found.append(_logits(network, views).view(len(rows), 2, -1).mean(1))
    return torch.cat(found)


def _logits(network: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=fastest_precision("cpu") == "bfloat16"):
        logits: Tensor = network(x)
    return logits.float()
