"""plan -> what people read: the layer table, two networks side by side, a drawing. Needs the plan alone."""

from resnets.inspection.compare import Comparison, Part, compare
from resnets.inspection.diagram import diagram, diagrams
from resnets.inspection.table import Line, count, every_row, layer_table, macs, shape, total

__all__ = [
    "Comparison",
    "Line",
    "Part",
    "compare",
    "count",
    "diagram",
    "diagrams",
    "every_row",
    "layer_table",
    "macs",
    "shape",
    "total",
]
