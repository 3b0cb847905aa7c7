"""Keras' first ResNet-50 under its names of 2017, as weights alone and with its configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from environments import Unavailable
from frameworks import logits_of, work

from resnets.weights.convert import read

pytestmark = [pytest.mark.parity, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("network", ["padded", "bare"])
def test_its_logits_are_those_of_keras(tmp_path, network):
    """Weights alone do not say whether the pool was padded: that it was is assumed, as in Keras 2.2."""
    try:
        work("keras_early", "make", network, "224", tmp_path)
    except Unavailable as problem:
        pytest.skip(str(problem))
    io = np.load(tmp_path / "io_224.npz")
    spread = io["logits"].max() - io["logits"].min()
    for container, path in json.loads((tmp_path / "made.json").read_text()).items():
        model = read(path)
        alone = container in ("weights", "legacy")
        assert model.network.plan.spec.pool_padding == ("zero" if alone or network == "padded" else "valid"), container
        assert model.network.plan.spec.norm_eps == 1e-3
        if not alone or network == "padded":
            ours = logits_of(model.network, io["x"])
            assert np.abs(ours - io["logits"]).max() < 1e-5 * spread, container
