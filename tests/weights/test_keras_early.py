"""Files of Keras' first ResNet-50, under He's names, of Keras 2 and of Keras 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_keras import V1, as_keras, network

from resnets.errors import ModelFileError
from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of
from resnets.weights.recognise import recognise
from resnets.weights.worlds.keras.early import layer_of

SPEC = replace(V1, norm_eps=1e-3)
OLD = {  # today's name -> that of 2017
    layer_of(name): name
    for name in (
        *("conv1", "bn_conv1"),
        *(
            f"{kind}{s}{u}_branch{b}"
            for kind in ("res", "bn")
            for s in "2345"
            for u in "abcdef"
            for b in ("1", "2a", "2b", "2c")
        ),
    )
}
KERAS_1 = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}


def early(net, config=None, version=2):
    """The network as it would have been saved then."""
    file = as_keras(net, config)
    tensors = {}
    for name, stored in file.tensors.items():
        layer, variable = name.split("/")
        old = OLD.get(layer, "fc1000")
        own = variable if version == 2 else f"{old}_{KERAS_1.get(variable, variable)}"
        tensors[f"{old}/{own}"] = stored
    return replace(file, tensors=tensors)


@pytest.mark.parametrize("version", [2, 1])
def test_it_loads_exactly_and_its_pool_is_assumed(version):
    net = network(SPEC)
    found = recognise(early(net, version=version))
    model = classifier_of(found)
    assert model.network.plan.spec == replace(SPEC, norm_momentum=model.network.plan.spec.norm_momentum)
    mine, theirs = model.network.state_dict(), net.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    said = certificate(found.file, "keras", model.network, source_files=())
    assert said["holds"], said["verdict"]
    assert "pool" in said["assumed"]


@pytest.mark.parametrize(("zeros", "rule"), [(1, "valid"), (2, "zero")])
def test_a_configuration_shows_whether_its_pool_was_padded(zeros, rule):
    layers = [{"class_name": "ZeroPadding2D", "config": {"name": f"zero_padding2d_{i}"}} for i in range(zeros)]
    file = early(network(SPEC), {"class_name": "Functional", "config": {"layers": layers}})
    prepared = recognise(replace(file, documents={}))
    assert prepared.plan.spec.pool_padding == "zero"
    with pytest.raises(ModelFileError, match="its configuration"):  # which is none of a whole network
        recognise(file)
    assert prepared.dialect.prepare(file).documents["early"] == rule


def test_a_configuration_without_an_end_is_refused():
    config = inner = {"class_name": "Functional", "config": {}}
    for _ in range(5000):
        inner["config"] = {"layers": [{"class_name": "Functional", "config": {}}]}
        inner = inner["config"]["layers"][0]
    with pytest.raises(ModelFileError, match="models in models"):
        recognise(early(network(SPEC), config))
