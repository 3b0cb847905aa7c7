"""A network in a training loop of your own, in plain PyTorch, on scikit-learn's digits.

python examples/plain_loop.py
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

import resnets

SMALL = resnets.ResNetSpec(depths=(1, 1, 1), widths=(16, 32, 64), stem="cifar", stem_width=16)  # "ResNet-8"


def digits():
    """(images (N, 1, 16, 16) from 0 to 1, labels), in a fixed random order."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return F.interpolate(images, scale_factor=2)[order], torch.tensor(found.target)[order]


def main():
    torch.manual_seed(0)
    images, labels = digits()
    train, test = slice(0, 1500), slice(1500, None)
    network = resnets.create(SMALL, num_classes=10, in_channels=1, seed=0)
    optimiser = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=8 * 12)
    for _ in range(8):
        for batch in torch.randperm(1500).split(128):
            loss = F.cross_entropy(network(images[train][batch]), labels[train][batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        right = network(images[test]).argmax(1) == labels[test]
    print(f"top-1 {100 * right.float().mean():.1f} % of {len(right)} held-out digits")


if __name__ == "__main__":
    main()
