"""Containers: bytes on disk -> tensors under their own names, knowing no network."""
