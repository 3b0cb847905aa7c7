"""Files that real Caffe, Keras and TF-Slim wrote, with the logits that they gave: loaded by detection alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resnets.architecture import plan
from resnets.network import ResNet
from resnets.weights import load
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise

TOLERANCE = 1e-5  # absolute, in float32
WIDE = 15  # times the tolerance: what a broken rule must cost at least (1.001e-5 taken as 1e-5 costs 20 times)

GOLDENS = {  # file, input and logits, whether the input has its channels last
    "caffe": ("caffe/tiny50.caffemodel", "caffe/tiny50_io.npz", False),
    "caffe by its prototxt": ("caffe/tiny50.prototxt", "caffe/tiny50_io.npz", False),
    "keras v1": ("keras/v1.weights.h5", "keras/v1_io.npz", True),
    "keras v1 legacy": ("keras/v1_legacy.h5", "keras/v1_io.npz", True),
    "keras v2": ("keras/v2.weights.h5", "keras/v2_io.npz", True),
    "keras v2 legacy": ("keras/v2_legacy.h5", "keras/v2_io.npz", True),
    "slim v1": ("tf_slim/v1.ckpt", "tf_slim/v1_io.npz", True),
    "slim v1 by its index": ("tf_slim/v1.ckpt.index", "tf_slim/v1_io.npz", True),
    "slim v2": ("tf_slim/v2.ckpt", "tf_slim/v2_io.npz", True),
}
BROKEN: dict[str, list[dict]] = {  # one field of the spec, as a careless port has it
    "caffe": [{"norm_eps": 1e-3}, {"stride_conv": "spatial"}, {"pool_padding": "torch"}],
    # Behind a ReLU, zeros around a pool are as good as minus infinity: in v1 only the side tells.
    "keras v1": [{"norm_eps": 1e-3}, {"norm_eps": 1e-5}, {"stride_conv": "spatial"}, {"pool_padding": "same"}],
    "keras v2": [{"norm_eps": 1e-3}, {"stride_unit": "first"}, {"pool_padding": "torch"}],
    "slim v1": [{"norm_eps": 1e-3}, {"stride_unit": "first"}, {"stride_conv": "first"}, {"pool_padding": "torch"}],
    "slim v2": [{"norm_eps": 1e-3}, {"stride_unit": "first"}, {"pool_padding": "torch"}],
}

CASES = [(name, change) for name, changes in BROKEN.items() for change in changes]


def golden(folder: Path, name: str) -> tuple[Path, torch.Tensor, torch.Tensor]:
    file, io, last = GOLDENS[name]
    arrays = np.load(folder / "golden" / io)
    x = torch.from_numpy(arrays["x"])
    return folder / "golden" / file, x.permute(0, 3, 1, 2) if last else x, torch.from_numpy(arrays["logits"])


def off(network: ResNet, x: torch.Tensor, logits: torch.Tensor) -> float:
    with torch.inference_mode():
        return float((network.eval()(x) - logits).abs().max())


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_loads_by_detection_and_gives_its_logits(shared_data, name):
    path, x, logits = golden(shared_data, name)
    assert off(load(path).network, x, logits) <= TOLERANCE


@pytest.mark.parametrize(("name", "change"), CASES, ids=str)
def test_a_broken_rule_shows(shared_data, name, change):
    path, x, logits = golden(shared_data, name)
    right = load(path).network
    p = right.plan
    wrong = ResNet(plan(replace(p.spec, **change), p.num_classes))
    wrong.load_state_dict(right.state_dict())
    assert off(wrong, x, logits) > WIDE * TOLERANCE


@pytest.mark.parametrize("name", ["caffe", "keras v1", "keras v2", "slim v2"])
def test_a_forgotten_bias_shows(shared_data, name):
    path, x, logits = golden(shared_data, name)
    network = load(path).network
    biases = [key for key in network.state_dict() if key.endswith(".bias") and ".conv" in key]
    assert biases
    with torch.no_grad():
        for key in biases:
            network.get_parameter(key).zero_()
    assert off(network, x, logits) > WIDE * TOLERANCE


def test_a_forgotten_batch_norm_factor_shows(shared_data):
    """Caffe's statistics are sums: the third blob says by what they are to be divided."""
    path, x, logits = golden(shared_data, "caffe")
    found, network = recognise(open_file(path)), load(path).network
    raw = open_file(path).tensors
    factors = {name.removesuffix("/2"): float(raw[name].read()) for name in raw if name.endswith("/2")}
    assert {factor == 1 for factor in factors.values()} == {True, False}, "the golden has factors of both kinds"
    with torch.no_grad():
        for ours, theirs in found.names.items():
            if ".running_" in ours:
                network.get_buffer(ours).mul_(factors[theirs.rpartition("/")[0]])
    assert off(network, x, logits) > WIDE * TOLERANCE
