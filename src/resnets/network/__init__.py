"""plan -> torch.nn.Module."""

from resnets.network.resnet import ResNet, create

__all__ = ["ResNet", "create"]
