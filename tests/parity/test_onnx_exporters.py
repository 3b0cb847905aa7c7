"""ONNX files of real exporters, read by their graph: the same answers as ONNX Runtime's, and as the network's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from environments import Unavailable
from frameworks import logits_of, work

from resnets.weights.certificate import certificate
from resnets.weights.convert import classifier_of
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.parity, pytest.mark.timeout(3600)]

NETWORKS = (
    ("onnx", "torchvision:resnet18"),
    ("onnx", "torchvision:resnet50"),
    ("onnx", "timm:resnetv2_50"),
    ("onnx", "timm:resnet26d"),
    ("onnx", "timm:resnext50_32x4d"),
    ("tf2onnx", "ResNet50"),
    ("tf2onnx", "ResNet50V2"),
)
SIZES = (224, 193)
NEAR = 1e-5  # of the logits' spread


@pytest.fixture(scope="module", params=NETWORKS, ids="-".join)
def made(request, tmp_path_factory):
    """(the folder with images and the network's own logits, exporter -> file)."""
    worker, network = request.param
    folder = tmp_path_factory.mktemp(worker)
    try:
        work(worker, "make", network, ",".join(map(str, SIZES)), folder)
    except Unavailable as problem:
        pytest.skip(str(problem))
    return folder, {exporter: Path(path) for exporter, path in json.loads((folder / "made.json").read_text()).items()}


def test_its_answers_are_those_of_onnx_runtime_and_of_the_network(made):
    folder, files = made
    for exporter, path in files.items():
        found = recognise(open_file(path))
        model = classifier_of(found)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
        last = entry.shape[-1] == 3
        declared = entry.shape[1] if last else entry.shape[2]
        for size in SIZES if not isinstance(declared, int) else (declared,):
            io = np.load(folder / f"io_{size}.npz")
            ours, own = logits_of(model.network, io["x"]), io["logits"]
            spread = own.max() - own.min()
            assert np.abs(ours - own).max() < NEAR * spread, exporter
            x = np.ascontiguousarray(io["x"].transpose(0, 2, 3, 1)) if last else io["x"]
            parts = [x] if not isinstance(entry.shape[0], int) else np.split(x, len(x) // entry.shape[0])
            theirs = np.concatenate([session.run(None, {entry.name: part})[0] for part in parts])
            if abs(theirs.sum(1) - 1).max() < 1e-4:  # Keras' own graphs end in a softmax
                ours = torch.from_numpy(ours).softmax(1).numpy()
            spread = theirs.max() - theirs.min()
            assert np.abs(ours - theirs).max() < NEAR * spread, exporter


def test_its_certificate_holds_against_onnx_runtime(made):
    _, files = made
    for exporter, path in files.items():
        found = recognise(open_file(path))
        said = certificate(found.file, found.dialect.name, classifier_of(found).network)
        assert said["holds"], f"{exporter}: {said['verdict']}"
        assert said["reference"].startswith("ONNX Runtime"), exporter
        assert list(said["assumed"]) == ["preprocessing"]
