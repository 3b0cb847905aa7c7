"""What must pass before it counts: int8 and exported files behind a gate, unknown files by a probe."""
