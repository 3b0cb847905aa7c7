"""Images on disk to batches: sources, labels, splits, decoding, preprocessing and the cache."""
