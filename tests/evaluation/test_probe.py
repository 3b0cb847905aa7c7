"""The probe finds what a file wants, and says so in order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from resnets.architecture import CATALOG, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError
from resnets.evaluation.probe import probe
from resnets.network import create
from resnets.weights import Model, load

COLOURS = ("blue", "green", "red")  # what photo_folder paints: the class's number is the channel
SPEC = ResNetSpec(depths=(1,), widths=(8,), stem="cifar", stem_width=8)


def colour_teller(preprocessing: Preprocessing, classes=COLOURS) -> Model:
    """A network that answers with the channel whose mean is highest in what it is given."""
    network = create(SPEC, num_classes=3, seed=0).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and parameter.ndim == 4:
                parameter.zero_()
        for channel in range(3):  # the stem passes each channel on, the branch adds nothing
            network.get_parameter("stem.conv.weight")[channel, channel, 1, 1] = 1
        network.get_parameter("head.linear.weight").copy_(torch.eye(3, 8) * 5)
    return Model(network, classes, preprocessing)


@pytest.fixture
def photos(photo_folder):
    return photo_folder(COLOURS, images=8)


def test_the_channel_order_is_found(photos):
    wants_bgr = Preprocessing.evaluation(16, channels="BGR")
    classes = ("red", "green", "blue")  # folder "blue" is bright in channel 0 of RGB, which BGR has last
    ranked = probe(colour_teller(Preprocessing.evaluation(16), classes), photos, images=24)
    assert ranked[0].preprocessing.channels == wants_bgr.channels
    assert ranked[0].accuracy == 1.0
    rgb = [c.accuracy for c in ranked if c.preprocessing.channels == "RGB" and not c.graph and c.images == 24]
    assert max(rgb, default=0) < 0.5


def test_classes_with_other_names_are_taken_in_order_or_matched(photos, capsys):
    by_order = probe(colour_teller(Preprocessing.evaluation(16), ("0", "1", "2")), photos, images=24)
    assert by_order[0].accuracy == 1.0
    assert "in their sorted order" in capsys.readouterr().err
    model = colour_teller(Preprocessing.evaluation(16), ("0", "1", "2"))
    matched = probe(model, _two_of(photos), images=16)
    assert matched[0].accuracy == 1.0
    assert "fits it best" in capsys.readouterr().err


def _two_of(photos):
    for file in (photos / "green").iterdir():
        file.unlink()
    (photos / "green").rmdir()
    return photos


def test_graphs_that_fit_the_same_tensors_are_tried_and_no_others(photos):
    network = create(dataclasses.replace(CATALOG["resnet20"], depths=(1, 1, 1)), num_classes=3, seed=0).eval()
    ranked = probe(Model(network, COLOURS, Preprocessing.evaluation(16)), photos, images=6)
    graphs = {str(candidate.graph) for candidate in ranked}
    assert graphs == {"{}", "{'pad_side': 'both'}", "{'stride_unit': 'last'}"}
    assert [c.order for c in ranked] == sorted(c.order for c in ranked)


def test_data_without_a_usable_image_is_refused(photos):
    for file in photos.rglob("*.jpg"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="no usable image to probe with"):
        probe(colour_teller(Preprocessing.evaluation(16)), photos)


def test_the_public_checkpoint_wants_what_its_author_trained_it_with(shared_data):
    """Two hundred training images tell ImageNet's statistics from CIFAR-10's, and option A's side."""
    model = load(shared_data / "weights" / "resnet20-cifar10-akamaster.th")
    end = dataclasses.replace(model.network.plan.spec, pad_side="end")
    wrong = create(end, num_classes=10).eval()
    wrong.load_state_dict(model.network.state_dict())
    start = Preprocessing.evaluation(32, channels="BGR", mean=(0.5,) * 3, std=(0.5,) * 3)
    best = probe(Model(wrong, model.classes, start), shared_data / "cifar10.zip", images=200)[0]
    assert best.graph == {"pad_side": "both"}
    assert best.preprocessing == Preprocessing.evaluation(32)
    assert best.accuracy > 0.8
    assert np.isfinite(best.loss)
