"""plan -> what people read: the layer table, and two networks side by side. Needs the plan alone."""

from resnets.inspection.compare import Comparison, Part, compare
from resnets.inspection.table import Line, count, layer_table, macs, shape, total

__all__ = ["Comparison", "Line", "Part", "compare", "count", "layer_table", "macs", "shape", "total"]
