"""akamaster/pytorch_resnet_cifar10."""
