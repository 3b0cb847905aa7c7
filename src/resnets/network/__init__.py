"""plan -> torch.nn.Module."""

from resnets.network.resnet import ResNet, create, with_new_head

__all__ = ["ResNet", "create", "with_new_head"]
