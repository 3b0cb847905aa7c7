"""What a page says to type: its commands and its Python, and the place in which they work."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

from resnets.cli.main import main

SHORT = "epochs = 2\nbatch_size = 32\nlearning_rate = 0.02\nwarmup_epochs = 1\n"
STARTS = ("resnets ", "python3 ", "python ", "torchrun ", "find ")


def blocks(page: str, kinds: str) -> list[str]:
    """The blocks of code of some kinds, a regular expression."""
    return re.findall(rf"^```(?:{kinds})\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def in_order(page: str) -> list[tuple[str, str]]:
    """(kind, text) of all blocks of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def lines(page: str) -> list[str]:
    """All commands of a page in their order, without the words behind them."""
    shown = "".join(blocks(page, "bash|console|")).splitlines()
    typed = [line.removeprefix("$ ").split(" #")[0].strip() for line in shown]
    return [line for line in typed if line.startswith(STARTS)]


def words(line: str) -> list[str]:
    """What the shell gives to the command: globs filled in."""
    return [found for word in shlex.split(line)[1:] for found in (sorted(glob.glob(word)) or [word])]


def photos(root: Path) -> Path:
    """A folder with photos/ (three classes; too few for the doctor to judge labels, which takes it long) and new/."""
    noise = np.random.default_rng(0)
    classes = ("photos/cat", "photos/dog", "photos/eel")
    for name, count in (*((one, 33) for one in classes), ("new", 3)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise.integers(0, 130, (64, 64, 3))
            pixels[..., classes.index(name) if name in classes else 2] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.jpg")
    return root


def shorter(folder: Path) -> Path:
    """Shipped recipes by which photos are trained in seconds: the defaults without a trained body, and with one."""
    for name in ("quick", "fine-tune"):
        (folder / f"{name}.toml").write_text(SHORT if name == "quick" else f"{SHORT}\nprobe = true\n")
    return folder


def run(line: str) -> int:
    """The exit status of `resnets ...` in this process."""
    return main(words(line))
