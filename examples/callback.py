"""An observer beside a training: it keeps the weights of the best epoch and writes a table of all.

python examples/callback.py
"""

import csv

import torch

import resnets
from resnets.training import Observer

SMALL = resnets.ResNetSpec(depths=(1, 1, 1), widths=(16, 32, 64), stem="cifar", stem_width=16)  # "ResNet-8"


class Best(Observer):
    """Looks on and changes nothing, so that the training stays the same to the bit."""

    def __init__(self, weights, table):
        self.weights, self.table = weights, table
        self.rows, self.top1 = [], 0.0

    def epoch_ended(self, training, epoch):
        top1 = epoch.figures.get("top1", 0.0)
        self.rows.append({"epoch": epoch.epoch, "loss": f"{epoch.loss:.4f}", "top1": f"{top1:.4f}"})
        if top1 > self.top1:
            self.top1 = top1
            torch.save(training.state.trained().state_dict(), self.weights)

    def ended(self, training):
        with open(self.table, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)


def main():
    best = Best("best.pt", "epochs.csv")
    result = resnets.train("digits", model=SMALL, epochs=3, observers=[best])
    print(f"best {best.top1:.4f} of {len(best.rows)} epochs in best.pt, all in epochs.csv, the model in {result.run}")


if __name__ == "__main__":
    main()
