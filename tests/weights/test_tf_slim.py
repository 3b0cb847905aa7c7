"""TF-Slim's networks: its graph in float64, and its names, preprocessing and training variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from resnets.architecture import ResNetSpec, plan
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.network import ResNet
from resnets.weights.formats.stored import Foreign, Stored
from resnets.weights.open import open_file
from resnets.weights.worlds.base import Part
from resnets.weights.worlds.tf_slim import witness as tf_slim
from resnets.weights.worlds.tf_slim.names import TFSlim

SLIM = TFSlim()
V1 = {
    "block": "bottleneck",
    "stride_unit": "last",
    "pool_padding": "same",
    "widths": (4, 8, 16),
    "norm_eps": 1e-5,
    "norm_momentum": 0.003,
}
V2 = {**V1, "order": "pre", "bias": "unnormed"}


def foreign(tensors: Mapping[str, torch.Tensor]) -> Foreign:
    stored = {name: Stored(tuple(t.shape), t.dtype, lambda t=t: t.clone()) for name, t in tensors.items()}
    return Foreign(Path("net.ckpt"), "tensorflow", stored, {}, ())


def network(**fields) -> ResNet:
    """A network whose norms are as far from the identity as trained ones."""
    random = torch.Generator().manual_seed(0)
    net = ResNet(plan(ResNetSpec(**fields), num_classes=7)).double().eval()
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(10 ** (torch.rand(tensor.shape, generator=random) * 4 - 4))
        elif tensor.ndim == 1:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.3 + (0.5 if "weight" in name else 0))
    return net


def as_slim(net: ResNet) -> Foreign:
    naming = SLIM.naming(net.plan)
    tensors = {}
    for ours, tensor in net.state_dict().items():
        if theirs := naming(ours):
            if tensor.ndim == 4:
                tensor = tensor.permute(2, 3, 1, 0)
            elif ours == "head.linear.weight":
                tensor = tensor.T[None, None]
            tensors[theirs] = tensor
    return foreign(tensors)


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_the_emulation_gives_what_tf_slim_gave(shared_data, name):
    folder = shared_data / "golden" / "tf_slim"
    io = np.load(folder / f"{name}_io.npz")
    x = torch.from_numpy(io["x"]).double().permute(0, 3, 1, 2)
    given = tf_slim.run(open_file(folder / f"{name}.ckpt"), x)
    assert list(given) == ["stem", "stage1.unit1", "stage1.unit2", "stage2.unit1", "stage2.unit2", "logits"]
    assert float((given["logits"] - torch.from_numpy(io["logits"])).abs().max()) < 1e-5


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (51, 38)])
@pytest.mark.parametrize("fields", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("depths", [(2, 1, 3), (1, 2, 2)])
def test_the_emulation_and_the_network_agree_in_every_unit(fields, size, depths):
    # 16 channels into the first stage: it widens nothing, so that even the first unit has no projection.
    net = network(**fields, depths=depths, stem_width=16)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = tf_slim.run(as_slim(net), x)
    seen = {}
    for stage in net.plan.stages:
        for unit in stage:
            module = net.get_submodule(unit.role)
            module.register_forward_hook(lambda _, __, y, role=unit.role: seen.__setitem__(role, y.clone()))
    with torch.no_grad():
        seen["logits"] = net(x)
    assert seen.keys() == given.keys() - {"stem"}
    for role, activation in seen.items():
        torch.testing.assert_close(given[role], activation, rtol=0, atol=1e-11 * float(activation.abs().max()))
        assert activation.std() > 1e-3, "a dead network proves nothing"


@pytest.mark.parametrize("scope", ["resnet_v1_50/", "tower/resnet/", ""])
def test_names_follow_the_scope_of_the_file(scope):
    file = foreign({f"{scope}block1/unit_1/bottleneck_v1/conv1/weights": torch.zeros(1, 1, 64, 64)})
    (naming,) = SLIM.namings(file)
    assert naming("stem.norm.running_var") == f"{scope}conv1/BatchNorm/moving_variance"
    assert naming("stage2.unit3.shortcut.norm.bias") == f"{scope}block2/unit_3/bottleneck_v1/shortcut/BatchNorm/beta"
    assert naming("stem.norm.num_batches_tracked") == ""
    assert naming("head.norm.weight") == ""
    assert SLIM.fields(file)["order"] == "post"


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        (V1 | {"depths": (3, 4, 23, 3), "widths": (4,) * 4}, "resnet_v1_101/"),
        (V2 | {"depths": (3, 24, 36, 3), "widths": (4,) * 4}, "resnet_v2_200/"),
        (V1 | {"depths": (1, 1, 1)}, "resnet_v1_custom/"),
    ],
)
def test_the_scope_that_is_written(fields, first):
    p = plan(ResNetSpec(**fields))
    assert SLIM.naming(p)("stem.conv.weight") == f"{first}conv1/weights"
    roles = [row.role for row in p.rows if row.kind in ("conv", "norm", "linear")]
    names = {SLIM.naming(p)(f"{role}.weight") for role in roles}
    assert len(names) == len(roles)
    assert "" not in names


def test_training_variables_are_left_out():
    w = torch.ones(2)
    net = "resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights"
    kept = {net: w, "resnet_v1_50/conv1/weights": w, "something/else": w}
    slots = ("Momentum", "Adam", "Adam_1", "RMSProp", "RMSProp_1", "ExponentialMovingAverage", "odd_slot")
    dropped = {f"{net}/{slot}": 2 * w for slot in slots}
    dropped |= {"global_step": w, "beta1_power": w, "train_op/beta2_power": w, "OptimizeLoss/conv1/weights/Momentum": w}
    prepared = SLIM.prepare(foreign({**dropped, **kept}))
    assert {name: stored.read().sum() for name, stored in prepared.tensors.items()} == dict.fromkeys(kept, 2)


def test_averaged_weights_stand_in_for_missing_ones():
    w = torch.ones(2)
    file = foreign({"a/weights/ExponentialMovingAverage": 3 * w, "b/ExponentialMovingAverage": 3 * w, "b": w})
    prepared = SLIM.prepare(file)
    assert {name: float(stored.read()[0]) for name, stored in prepared.tensors.items()} == {"a/weights": 3, "b": 1}


def test_preprocessing_is_that_of_its_training():
    file = foreign({})
    v1 = SLIM.preprocessing(file, ResNetSpec(**V1, depths=(1, 1, 1)))
    white = torch.full((1, 224, 224, 3), 255, dtype=torch.uint8)
    assert (v1.image_size, v1.resize, v1.resize_to, v1.channels) == (224, "shorter", 256, "RGB")
    torch.testing.assert_close(v1.normalise(white)[0, :, 0, 0], 255 - torch.tensor([123.68, 116.78, 103.94]))
    v2 = SLIM.preprocessing(file, ResNetSpec(**V2, depths=(1, 1, 1)))
    assert v2 == Preprocessing(image_size=299, resize="stretch", resize_to=342, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_a_mean_in_the_file_is_its_preprocessing():
    """The published resnet_v1 checkpoints hold one."""
    spec = ResNetSpec(**V1, depths=(1, 1, 1))
    prepared = SLIM.prepare(foreign({"resnet_v1_50/mean_rgb": torch.tensor([102.0, 51.0, 25.5])}))
    assert not prepared.tensors
    assert SLIM.preprocessing(prepared, spec).mean == pytest.approx((0.4, 0.2, 0.1))
    absurd = SLIM.prepare(foreign({"mean_rgb": torch.tensor([-1.0, 0, torch.nan])}))
    with pytest.raises(ModelFileError, match="mean_rgb makes no sense"):
        SLIM.preprocessing(absurd, spec)


def test_the_first_of_1001_classes_is_the_background():
    file = foreign({})
    assert SLIM.classes(file, 1001)[:3] == ("background", "0", "1")
    assert len(set(SLIM.classes(file, 1001))) == 1001
    assert SLIM.classes(file, 3) == ("0", "1", "2")


def test_a_checkpoint_is_written_under_its_prefix(tmp_path):
    net = network(**V2, depths=(1, 1, 1)).float()
    file = as_slim(net)
    written = SLIM.write(tmp_path / "net.ckpt.index", file, net.plan)
    assert written == (tmp_path / "net.ckpt.index", tmp_path / "net.ckpt.data-00000-of-00001")
    again = open_file(tmp_path / "net.ckpt")
    assert {name: stored.shape for name, stored in again.tensors.items()} == {
        name: stored.shape for name, stored in file.tensors.items()
    }
    assert all(torch.equal(again.tensors[name].read(), stored.read()) for name, stored in file.tensors.items())
    with pytest.raises(ModelFileError, match=r"model\.ckpt"):
        SLIM.write(tmp_path, file, net.plan)


def test_every_tensor_has_a_name():
    p = plan(ResNetSpec(**V2, depths=(2, 1, 1)))
    for ours in ResNet(p).state_dict():
        assert bool(SLIM.naming(p)(ours)) is (Part.of(ours).leaf != "num_batches_tracked")
