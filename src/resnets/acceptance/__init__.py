"""What must pass before it counts: int8 and exported files behind a gate, unknown files by a probe."""

from resnets.acceptance.exported import Exported, export

__all__ = ["Exported", "export"]
