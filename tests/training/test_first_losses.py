"""The first hundred losses of the paper's recipe on digits, number for number: what changed when nothing should have.

tests/golden/first_losses.json is written by `python tests/training/test_first_losses.py`; look at the diff before you
commit it. Processors, threads and torch's libraries add in another order, and at a rate of 0.1 each step makes more of
it: of five such ways (one and two threads, SSE4.1, no vectors) step 2 differed by up to 0.0002, step 8 by 0.006, single
steps later by 0.4, and means of 25 steps by 0.06.
"""

import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

import resnets
from resnets.training.observer import Observer

GOLDEN = Path(__file__).parents[1] / "golden" / "first_losses.json"
STEPS = 100
TOLERANCES = ((2, 1e-5), (4, 5e-3), (9, 0.03), (STEPS, 1.0))  # (of the steps before it, nats)
WINDOW, MEAN = 25, 0.15  # steps, and nats that their mean may differ by


class Enough(Exception):
    """A hundred steps were made."""


class Losses(Observer):
    def __init__(self):
        self.found = []

    def stepped(self, training, step):
        self.found.append(step.loss)
        if len(self.found) == STEPS:
            raise Enough


def losses(folder):
    """Of a ResNet-20 with seed 0, in float32."""
    seen = Losses()
    overrides = ["precision=float32", "evaluate_every=100"]
    about = {"model": "resnet20", "recipe": "paper-cifar", "out": folder, "overrides": overrides}
    with contextlib.suppress(Enough):
        resnets.train("digits", observers=[seen], **about)
    return seen.found


def test_the_first_losses_are_what_they_were(tmp_path):
    golden, found = json.loads(GOLDEN.read_text()), losses(tmp_path / "run")
    assert len(found) == len(golden) == STEPS
    for number, (then, now) in enumerate(zip(golden, found, strict=True)):
        allowed = next(nats for end, nats in TOLERANCES if number < end)
        assert abs(then - now) < allowed, f"step {number}: {now}, and it was {then}"
    for first in range(0, STEPS, WINDOW):
        then, now = (statistics.mean(one[first : first + WINDOW]) for one in (golden, found))
        assert abs(then - now) < MEAN, f"steps from {first} on: {now}, and it was {then}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        made = losses(Path(place) / "run")
    (Path(sys.argv[1]) if sys.argv[1:] else GOLDEN).write_text(json.dumps(made, indent=1) + "\n")
