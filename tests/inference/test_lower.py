"""Rows become steps: today's networks the steps that they always were, and any wiring steps that compute the same."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnets.architecture import ResNetSpec, names, plan
from resnets.inference.lower import OUTPUT, lower, outline
from resnets.inference.runner import Runner
from resnets.network import create

STEPS = json.loads((Path(__file__).parents[1] / "golden" / "steps.json").read_text())


def lines(made):
    return [f"{s.name} {s.kind} {s.row.role} {s.input} {s.addend} {s.relu}" for s, _ in outline(made)]


@pytest.mark.parametrize("name", names())
def test_the_steps_of_the_catalog_are_golden(name):
    """Stored quantisations know values by the names of steps. Written by the code that came before `Row.reads`."""
    assert hashlib.sha256("\n".join(lines(plan(name))).encode()).hexdigest() == STEPS[name]


def test_a_unit_is_one_step_for_each_convolution():
    assert lines(plan(ResNetSpec(depths=(2,), widths=(64,)))) == [
        "stem.conv conv stem.conv input None True",
        "stem.pool max_pool stem.pool stem.conv None False",
        "stage1.unit1.conv1 conv stage1.unit1.conv1 stem.pool None True",
        "stage1.unit1.conv2 conv stage1.unit1.conv2 stage1.unit1.conv1 stem.pool True",
        "stage1.unit2.conv1 conv stage1.unit2.conv1 stage1.unit1.conv2 None True",
        "stage1.unit2.conv2 conv stage1.unit2.conv2 stage1.unit2.conv1 stage1.unit1.conv2 True",
        "logits head head.pool stage1.unit2.conv2 None False",
    ]


def rewired(plan, changes):
    """A plan whose rows are changed by role."""
    stages = tuple(
        tuple(replace(unit, rows=tuple(replace(row, **changes.get(row.role, {})) for row in unit.rows)) for unit in s)
        for s in plan.stages
    )
    return replace(plan, stages=stages)


def test_what_two_rows_read_is_taken_along_by_neither():
    """A shortcut that begins within the branch of a post-activated unit: nobody asks how units are usually wired."""
    spec = ResNetSpec(depths=(2,), widths=(8,), stem_width=8, stem="cifar")
    changes = {"stage1.unit2.add": {"reads": ("stage1.unit2.norm2", "stage1.unit2.norm1")}}
    network = create(spec, 3, seed=0).eval()
    other = type(network)(rewired(network.plan, changes))
    other.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    unit = other.stage1.unit2
    with torch.inference_mode():
        start = other.stage1.unit1(other.stem(x))
        middle = unit.norm1(unit.conv1(start))
        expected = torch.relu(unit.norm2(unit.conv2(torch.relu(middle))) + middle)
        torch.testing.assert_close(unit(start), expected)
        graph = lower(other.eval())
        torch.testing.assert_close(Runner(graph)(x), other(x), rtol=1e-4, atol=1e-5)
    kinds = [(step.name, step.kind) for step in graph.steps if "unit2" in step.name]
    assert kinds == [("stage1.unit2.conv1", "conv"), ("stage1.unit2.relu1", "relu"), ("stage1.unit2.conv2", "conv")]
    assert graph.steps[-1].name == OUTPUT
