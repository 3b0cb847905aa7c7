"""Networks of one channel: they predict, are evaluated, exported and trained on with grey pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_convert import model_of, tiny

from resnets import create, export, load, save
from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.inference import Classifier
from resnets.weights import Model
from resnets.weights.body import load_body
from resnets.weights.convert import write
from resnets.weights.grey import coloured

MEAN, STD = 0.1307, 0.3081  # of handwritten digits, as people give them


def grey(name="resnet18", channels=1):
    wide = model_of(tiny(name))
    network = create(tiny(name), num_classes=5, in_channels=channels, seed=1).eval()
    state = wide.network.state_dict()
    stem = "stem.conv1.weight" if "stem.conv1.weight" in state else "stem.conv.weight"
    network.load_state_dict({**state, stem: state[stem][:, :1].repeat(1, channels, 1, 1)})
    return replace(wide, network=network, preprocessing=Preprocessing.evaluation(64, mean=(MEAN,) * 3, std=(STD,) * 3))


def picture(mode="L"):
    values = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "resnetv2_50"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_picture_has_the_logits_that_the_network_gives(name, mode):
    model = grey(name)
    classifier = Classifier(model)
    x = (torch.from_numpy(np.array(picture()).astype(np.float32))[None, None] / 255 - MEAN) / STD
    with torch.no_grad():
        wanted = model.network(x)
    found = classifier.logits(classifier.preprocessing.pixels(picture(mode).convert("RGB"))[None])
    assert torch.allclose(found, wanted, rtol=1e-4, atol=float(wanted.abs().max()) * 1e-5)
    assert model.network.plan.in_channels == 1, "the model that was given stays as it is"


def test_means_of_colours_become_one():
    model = replace(grey(), preprocessing=Preprocessing.evaluation(64))
    own = coloured(model).preprocessing
    assert own.mean == pytest.approx((0.449,) * 3, abs=1e-3)
    assert own.std == pytest.approx((0.226,) * 3, abs=1e-3)


def test_it_predicts_and_is_exported_from_others_files(tmp_path):
    write(replace(grey(), preprocessing=Preprocessing.evaluation(64)), tmp_path / "grey.pth", "torchvision")
    picture().save(tmp_path / "p.png")
    classifier = load(tmp_path / "grey.pth")
    (answer,) = classifier.predict([tmp_path / "p.png"])
    assert answer.top[0][0] in classifier.classes
    save(tmp_path / "grey.pth", tmp_path / "own.safetensors")
    export(tmp_path / "own.safetensors", tmp_path / "grey.onnx")
    assert (tmp_path / "grey.onnx").stat().st_size > 1000


def test_it_is_a_body_to_train_on(tmp_path):
    write(grey(), tmp_path / "grey.pth", "torchvision")
    assert load_body(tmp_path / "grey.pth").model.network.plan.in_channels == 3


def test_other_numbers_of_channels_are_refused():
    spec = ResNetSpec(depths=(1, 1), widths=(4, 8), stem_width=4)
    model = Model(create(spec, num_classes=2, in_channels=4, seed=0).eval(), ("a", "b"), Preprocessing.evaluation(64))
    with pytest.raises(ModelFileError, match="takes 4 channels and a picture has 3"):
        Classifier(model)
