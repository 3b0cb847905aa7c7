"""TF-Slim's resnet_v1 and resnet_v2."""
