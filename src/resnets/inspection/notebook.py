"""A plan as notebooks show it: its drawing, and its layers as a table."""

from __future__ import annotations

from resnets.architecture import Plan
from resnets.architecture.catalog import name_of
from resnets.inspection.diagram import diagram
from resnets.inspection.table import layer_table, total
from resnets.notebook import table, text_of

_COLUMNS = ("kernel", "stride", "groups", "output", "parameters", "macs")


def drawing(plan: Plan) -> str:
    """The diagram, an SVG."""
    return diagram(plan, _name(plan))


def page(plan: Plan) -> str:
    """The diagram, and behind a click the layer table."""
    lines = [*layer_table(plan), *total(plan)]
    rows = [(line.label, *(getattr(line, column) for column in _COLUMNS)) for line in lines]
    layers = table(("layer", *_COLUMNS[:-1], "MACs"), rows, bold_last=True)
    return f"{drawing(plan)}<details><summary>{text_of(repr(plan))}</summary>{layers}</details>"


def _name(plan: Plan) -> str:
    return name_of(plan.spec) or "custom"
