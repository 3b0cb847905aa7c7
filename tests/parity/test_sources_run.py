"""A network written as its world's own source (`resnets show NAME --keras|--prototxt F`) has its logits there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from environments import Unavailable
from frameworks import logits_of, work

import resnets
from resnets.cli.main import main
from resnets.data.preprocess import Preprocessing
from resnets.weights import Model

pytestmark = [pytest.mark.parity, pytest.mark.timeout(3600)]

SIZE = 224


def lively(name):
    """A network of the catalog whose norms have seen something, and pictures.

    Branches are weak beside their shortcuts, as after training: a hundred strong ones make a rounding a thousand times
    as large, on either side.
    """
    network = resnets.create(name, seed=0).train()
    last = "norm3.weight" if network.plan.spec.order == "post" else "conv3.weight"
    with torch.no_grad():
        for key, weight in network.named_parameters():
            weight.mul_(0.2 if key.endswith(last) else 1.0)
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(x)
    return network.eval(), x.numpy()


@pytest.mark.parametrize(
    ("name", "flag", "suffix", "worker", "weights"),
    [
        *((name, "--keras", ".py", "keras_source", "m.weights.h5") for name in resnets.names("keras_*")),
        *((name, "--prototxt", ".prototxt", "opencv", "m.caffemodel") for name in resnets.names("caffe_*")),
    ],
)
def test_the_source_has_the_logits_of_the_network(tmp_path, name, flag, suffix, worker, weights):
    network, x = lively(name)
    classes = tuple(map(str, range(network.plan.num_classes)))
    resnets.save(Model(network, classes, Preprocessing.evaluation(SIZE)), tmp_path / "m.safetensors")
    dialect = "keras" if flag == "--keras" else "caffe"
    resnets.convert(tmp_path / "m.safetensors", tmp_path / weights, target_dialect=dialect)
    source = tmp_path / f"source{suffix}"
    assert main(["show", name, flag, str(source)]) == 0
    asked = str(source)
    if suffix == ".prototxt":
        (tmp_path / weights).with_suffix(".prototxt").write_text(source.read_text())
        asked = "ResNet"
    np.savez(tmp_path / f"io_{SIZE}.npz", x=x, logits=np.zeros((2, 1)))
    try:
        work(worker, "run", tmp_path / weights, asked, str(SIZE), tmp_path)
    except Unavailable as problem:
        pytest.skip(str(problem))
    theirs, ours = np.load(tmp_path / f"result_{SIZE}.npz")["logits"], logits_of(network, x)
    assert np.abs(theirs - ours).max() < 1e-5 * np.ptp(ours)
