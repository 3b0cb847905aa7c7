"""A small network learns from what a larger one says (Hinton 2015), without seeing a single label.

resnets train digits --out runs/digits
python examples/distil.py runs/digits
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

import resnets

STUDENT = resnets.ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", stem_width=8)
HEAT = 3.0  # the temperature on both sides: it shows the student which wrong answers are nearly right


def main(run):
    torch.manual_seed(0)
    teacher, found = resnets.load(run), load_digits()
    pictures = [Image.fromarray(image) for image in (found.images * 255 / 16).astype(np.uint8)]
    pixels = np.stack([teacher.preprocessing.pixels(picture.convert("RGB")) for picture in pictures])
    said, images = teacher.logits(pixels), teacher.input(pixels)  # (N, 10) and (N, 3, S, S), normalised

    student = resnets.create(STUDENT, num_classes=10, seed=0)
    optimiser = torch.optim.AdamW(student.parameters(), 5e-3)
    for _ in range(15):
        for batch in torch.randperm(1500).split(64):
            soft = F.softmax(said[batch] / HEAT, dim=1)
            loss = HEAT**2 * F.cross_entropy(student(images[batch]) / HEAT, soft)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    student.eval()
    with torch.no_grad():
        answers = student(images[1500:]).argmax(1)
    truth = torch.tensor(found.target[1500:])
    for name, network in (("teacher", teacher.network), ("student", student)):
        print(f"{name}: {network.plan.parameters:,} parameters")
    print(f"the student agrees with the teacher on {float((answers == said[1500:].argmax(1)).float().mean()):.1%}")
    print(f"and is right on {float((answers == truth).float().mean()):.1%} of {len(truth)} digits that it never saw")


if __name__ == "__main__":
    main(sys.argv[1])
