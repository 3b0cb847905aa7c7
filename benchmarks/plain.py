"""The peer: a plain PyTorch training script as the tutorials have it.

torchvision's ImageFolder and transforms (Pillow), a DataLoader with two workers, float32, SGD 0.1 with momentum,
the rate divided by ten at one half and three quarters. It prints a JSON line per epoch. Needs torchvision beside
a CPU torch, whose two missing operators are declared first.

    python benchmarks/plain.py FOLDER --model resnet18 --image-size 128 --epochs 4
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader

_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision import datasets, models, transforms  # noqa: E402  (needs the operators above)


class Block(nn.Module):
    """The CIFAR block with option A, as the widely copied script has it."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
        return torch.relu(y + x)


def resnet20(num_classes):
    blocks = [Block(i, o, s) for i, o, s in [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2]
    blocks += [Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


def pipelines(size):
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    if size <= 64:
        train = [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()]
        test = []
    else:
        train = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
        test = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]
    return [transforms.Compose([*steps, transforms.ToTensor(), normalise]) for steps in (train, test)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="with train/ and val/ or test/")
    parser.add_argument("--held-out", default="val")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-only", action="store_true", help="no evaluation: the time of the epoch alone")
    arguments = parser.parse_args()

    began = time.perf_counter()
    torch.manual_seed(arguments.seed)
    for_training, for_testing = pipelines(arguments.image_size)
    train_set = datasets.ImageFolder(f"{arguments.folder}/train", for_training)
    test_set = datasets.ImageFolder(f"{arguments.folder}/{arguments.held_out}", for_testing)
    train = DataLoader(train_set, arguments.batch_size, shuffle=True, num_workers=2)
    test = DataLoader(test_set, arguments.batch_size, num_workers=2)
    classes = len(train_set.classes)
    make = resnet20 if arguments.model == "resnet20" else models.get_model_builder(arguments.model)
    network = make(num_classes=classes)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    milestones = sorted({arguments.epochs // 2, arguments.epochs * 3 // 4} - {0})
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)

    for epoch in range(arguments.epochs):
        start = time.perf_counter()
        network.train()
        for images, labels in train:
            loss = nn.functional.cross_entropy(network(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        seconds = time.perf_counter() - start
        line = {"epoch": epoch + 1, "images": len(train_set), "train_seconds": seconds}
        if not arguments.train_only:
            network.eval()
            right = 0
            with torch.no_grad():
                for images, labels in test:
                    right += int((network(images).argmax(1) == labels).sum())
            line["top1"] = right / len(test_set)
        print(json.dumps({**line, "elapsed": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
