"""torchvision, whose names most of the torch world has taken over."""
