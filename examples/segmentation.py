"""A network's dense features as the body of a segmentation: which pixels belong to the disc?

python examples/segmentation.py
"""

import torch
import torch.nn.functional as F
from torch import nn

import resnets

SIDE = 32


def pictures(count, generator):
    """(images, masks): noise with a brighter disc somewhere, and where the disc is."""
    at = torch.arange(SIDE)
    centre = torch.randint(8, SIDE - 8, (count, 2), generator=generator)
    far = (at[None, :, None] - centre[:, :1, None]) ** 2 + (at[None, None, :] - centre[:, 1:, None]) ** 2
    masks = (far < 36).float()
    return torch.randn(count, 3, SIDE, SIDE, generator=generator) + 1.5 * masks[:, None], masks


class Segmenter(nn.Module):
    """The body without its later strides, a 1x1 convolution, and the size of the picture again."""

    def __init__(self):
        super().__init__()
        # With output_stride=8 the last two stages dilate instead of striding: an eighth of the side is kept.
        self.body = resnets.create("resnet18", output_stride=8, seed=0)
        self.head = nn.Conv2d(512, 1, 1)

    def forward(self, images):
        maps = self.body.features(images)["stage4"]
        return F.interpolate(self.head(maps), images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def overlap(logits, masks):
    """Intersection over union."""
    found, there = logits > 0, masks > 0.5
    return float((found & there).sum() / (found | there).sum())


def main():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = Segmenter()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(25):
        images, masks = pictures(16, generator)
        loss = F.binary_cross_entropy_with_logits(network(images), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, masks = pictures(64, generator)
    with torch.no_grad():
        logits = network.train()(images)  # after so few steps the running statistics lag behind
    print(f"maps of {tuple(network.body.features(images[:1])['stage4'].shape[-2:])} for pictures of {SIDE} pixels")
    print(f"intersection over union {overlap(logits, masks):.2f}")


if __name__ == "__main__":
    main()
