"""torch's two exporters, and timm's own way with them, of torchvision's and timm's networks."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout

import torch
from common import Draw, main, refuse
from torch_common import calibrate, define_torchvision_operators, fill, save_all_io

operators = define_torchvision_operators()

import timm  # noqa: E402
import torchvision  # noqa: E402
from timm.utils.onnx import onnx_export  # noqa: E402

SIZES = {0: "n", 2: "h", 3: "w"}  # what stays open


def make(network, sizes, folder):
    """The network of this name, timm:NAME or torchvision:NAME; a file of each exporter and setting."""
    source, _, name = network.partition(":")
    model = timm.create_model(name) if source == "timm" else getattr(torchvision.models, name)(weights=None)
    pre = name.startswith("resnetv2")
    last = "conv3" if pre else "bn2" if name == "resnet18" else "bn3"
    fill(model, Draw(name), lambda layer: layer.endswith(last) and not layer.startswith("stem"))
    calibrate(model, model.get_classifier() if source == "timm" else model.fc, sizes[0])
    save_all_io(model, sizes, folder)
    x = torch.randn(2, 3, sizes[0], sizes[0])
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return dict(files(model, x, folder, source))


def files(model, x, folder, source):
    """(what made it, its path) of each."""
    for folds in (True, False):
        how = "folded" if folds else "whole"
        training = torch.onnx.TrainingMode.EVAL if folds else torch.onnx.TrainingMode.PRESERVE
        options = {"dynamo": False, "training": training, "do_constant_folding": folds, "opset_version": 17}
        place = folder / f"torchscript_{how}.onnx"
        torch.onnx.export(model, (x,), str(place), input_names=["x"], dynamic_axes={"x": SIZES}, **options)
        yield f"TorchScript, {how}", place
        place = folder / f"dynamo_{how}.onnx"
        shapes = ({axis: torch.export.Dim(word) for axis, word in SIZES.items()},)
        torch.onnx.export(model, (x,), str(place), dynamo=True, optimize=folds, verbose=False, dynamic_shapes=shapes)
        yield f"dynamo, {how}", place
    place = folder / "fixed.onnx"
    torch.onnx.export(model, (x[:1],), str(place), dynamo=True, verbose=False)
    yield "dynamo, one size", place
    if source == "timm":
        place = folder / "timm.onnx"
        onnx_export(model, str(place), input_size=(3, *x.shape[2:]), batch_size=2, check=False)
        yield "timm's onnx_export", place


def run(path, network, batches):
    refuse("ONNX Runtime runs these files, wherever they are tested")


main(make, run)
