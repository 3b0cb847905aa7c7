"""What the worlds that build on torch.nn share."""
