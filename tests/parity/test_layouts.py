"""Checkpoints as public libraries write them load to the same answers, or are refused, or say what they assume."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from environments import Unavailable, python_of
from frameworks import WORKERS, work

from resnets.errors import ModelFileError
from resnets.weights.certificate import certificate
from resnets.weights.convert import model_of
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise

pytestmark = [pytest.mark.parity, pytest.mark.timeout(3600)]

SIZE = 224
SMALL = ("cifar10", "cifar", "d2l", "robustness")  # in the names of those whose pictures are small
NEAR = 1e-5
AMBIGUOUS = {"pytorchcv: resnet50": "resnet50_v1"}  # its twin has the same names and shapes: the user names it
REFUSED = {"pytorchcv: preresnet18": "has no place in it"}


def layouts() -> list[str]:
    try:
        found = subprocess.run(
            [python_of("layouts"), WORKERS / "layouts_worker.py", "list"], capture_output=True, text=True, check=True
        )
    except Unavailable:
        return []
    return found.stdout.splitlines()


def answers(path, x: torch.Tensor, network: str | None) -> np.ndarray:
    """What the network makes of pictures: its logits, or of a body the mean of its features."""
    model = model_of(recognise(open_file(path), network=network, body=True))
    net, x = model.network.double().eval(), x.double()
    with torch.no_grad():
        if model.classes:
            return net(x).numpy()
        x = net.stem(x)
        for stage in net.stage_names:
            x = net.get_submodule(stage)(x)
        return x.mean((2, 3)).numpy()


def test_layouts_load_exactly_and_none_falsely(tmp_path, capsys):
    names = layouts()
    if not names:
        pytest.skip("the environment of the layouts cannot be made here")
    good, wrong = [], {}
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        size = 32 if any(word in name for word in SMALL) else SIZE
        work("layouts", "make", name, str(size), folder)
        (path,) = json.loads((folder / "made.json").read_text()).values()
        io = np.load(folder / f"io_{size}.npz")
        x, wanted = torch.from_numpy(io["x"]), io["logits"]
        spread = wanted.max() - wanted.min()
        if name in REFUSED:
            with pytest.raises(ModelFileError, match=REFUSED[name]):
                recognise(open_file(path), body=True)
            continue
        far = float(np.abs(answers(path, x, None) - wanted).max() / spread)
        if name in AMBIGUOUS:
            found = recognise(open_file(path))
            said = certificate(found.file, found.dialect.name, model_of(found).network)
            assert not said["holds"], name
            assert "strides" in said["assumed"], name
            far = float(np.abs(answers(path, x, AMBIGUOUS[name]) - wanted).max() / spread)
        with capsys.disabled():
            print(f"{name}: {far:.1e}", flush=True)
        if far < NEAR:
            good.append(name)
        else:
            wrong[name] = far
        shutil.rmtree(folder)
    assert not wrong
    assert len(names) >= 40
    assert len(good) >= 0.9 * len(names)
