"""Real files of the real frameworks in, and ours out to them: the same logits both ways.

How to run it, and the table of all differences: docs/parity.md.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from environments import Unavailable
from figures import Figures
from frameworks import FRAMEWORKS, Made, logits_of

from resnets.architecture import ResNetSpec, plan
from resnets.network import ResNet
from resnets.weights import convert

pytestmark = [pytest.mark.parity, pytest.mark.timeout(3600)]  # an environment may have to be made first

TOLERANCE = 1e-4  # largest difference of two logits over the standard deviation of all; float32 on both sides
BROKEN = 100 * TOLERANCE  # what a wrong rule must cost at least, or the agreement would mean little

CASES = [(framework, network) for framework in FRAMEWORKS for network in framework.networks]


@pytest.fixture(scope="session")
def figures() -> Figures:
    return Figures.load()


@pytest.fixture(scope="module", params=CASES, ids=[f"{framework.name}-{network}" for framework, network in CASES])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """One real network at a time: its files, which are large, go before the next comes."""
    framework, network = request.param
    folder = tmp_path_factory.mktemp(network)
    try:
        yield Made(framework, network, folder)
    except Unavailable as problem:
        pytest.skip(str(problem))
    finally:
        shutil.rmtree(folder)


def test_the_frameworks_files_give_its_logits_here(made: Made, figures: Figures) -> None:
    """In: every file is recognised by itself, and the logits are those of every framework that reads it."""
    (first, first_path), *others = made.files.items()
    theirs = {made.framework.name: {size: made.io(size)[1] for size in made.framework.sizes}}
    theirs |= {reader: made.run(first_path, reader) for reader in made.framework.others}
    for reader, logits in theirs.items():
        for size, ours in made.ours.items():
            difference = figures.note(made, "in", reader, first, size, logits[size], ours)
            assert difference <= TOLERANCE, f"{first} in {reader} at {size}"
    state = made.model.network.state_dict()
    for container, path in others:  # the same network from another container needs no second look at its logits
        model = convert.read(path)
        assert model.network.plan == made.model.network.plan, container
        for name, tensor in model.network.state_dict().items():
            assert torch.equal(tensor, state[name]), f"{container}: {name}"


def test_our_files_give_our_logits_there(made: Made, figures: Figures) -> None:
    """Out: what is written from our network loads in the framework, strictly, and gives our logits."""
    for name in made.framework.written:
        target = made.folder / "out" / name
        target.parent.mkdir()
        convert.write(made.model, target, made.framework.dialect)
        for reader in (made.framework.name, *made.framework.others):
            for size, theirs in made.run(target, reader).items():
                difference = figures.note(made, "out", reader, name, size, theirs, made.ours[size])
                assert difference <= TOLERANCE, f"{name} in {reader} at {size}"
        shutil.rmtree(target.parent)


def test_a_wrong_rule_would_show(made: Made, figures: Figures) -> None:
    """The weights are such that every rule matters: breaking one costs far more than the tolerance."""
    p, state = made.model.network.plan, made.model.network.state_dict()
    size = made.framework.sizes[0]
    x, theirs = (values[:1] for values in made.io(size))
    for rule, change in wrong_rules(p.spec).items():
        with torch.device("meta"):
            wrong = ResNet(plan(dataclasses.replace(p.spec, **change), num_classes=p.num_classes))
        wrong.load_state_dict(state, assign=True)
        ours = logits_of(wrong.eval(), x)
        difference = figures.note(made, rule, made.framework.name, "", size, theirs, ours)
        assert difference >= BROKEN, rule


def wrong_rules(spec: ResNetSpec) -> dict[str, dict[str, Any]]:
    """Changes of a spec that leave its tensors as they are, by the name of the rule that they break."""
    rules = {
        "wrong epsilon": {"norm_eps": 1e-3},
        "wrong pool": {"pool_padding": "ceil" if spec.pool_padding in ("torch", "zero") else "torch"},
        "wrong unit strides": {"stride_unit": "last" if spec.stride_unit == "first" else "first"},
    }
    if spec.block == "bottleneck":
        rules["wrong convolution strides"] = {"stride_conv": "first" if spec.stride_conv == "spatial" else "spatial"}
    return rules
