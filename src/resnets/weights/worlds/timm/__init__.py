"""timm, on the hub and as plain state dicts."""
