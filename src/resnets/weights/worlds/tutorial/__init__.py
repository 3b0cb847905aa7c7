"""The common teaching version of ResNet-18."""
