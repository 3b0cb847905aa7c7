"""The probe finds what a file wants, and says so in order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.acceptance.conversion import convert
from resnets.acceptance.probe import Candidate, probe, verdict
from resnets.architecture import CATALOG, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, ModelFileError, ParameterError
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
    assert max(rgb) < 0.5


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
    ranked = probe(untaught(depths=(2, 1, 1)), photos, images=6)
    assert {str(candidate.graph) for candidate in ranked} == {"{}", "{'pad_side': 'both'}", "{'stride_unit': 'last'}"}
    assert [c.order for c in ranked] == sorted(c.order for c in ranked)


def test_of_graphs_that_compute_the_same_there_is_the_models_own(photos):
    """The last unit of one is the first; behind a relu a border of zeros is none; an even side is not rounded."""
    spec = dataclasses.replace(SPEC, depths=(1, 1), widths=(8, 8), stem="imagenet", pool_padding="zero")
    model = Model(create(spec, num_classes=3, seed=0).eval(), COLOURS, Preprocessing.evaluation(32))
    graphs = {str(candidate.graph) for candidate in probe(model, photos, images=6)}
    assert graphs == {"{}", "{'pool_padding': 'same'}", "{'pool_padding': 'valid'}"}


def untaught(**changed) -> Model:
    spec = dataclasses.replace(CATALOG["resnet20"], **changed)
    return Model(create(spec, num_classes=3, seed=0).eval(), COLOURS, Preprocessing.evaluation(16))


def test_what_looks_best_by_luck_is_not_adopted(tmp_path):
    """No use of random weights is better than another on noise, yet of so many one leads."""
    random = np.random.default_rng(0)
    for label in COLOURS:
        (tmp_path / label).mkdir()
        for number in range(8):
            pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    model = untaught(depths=(1, 1, 1))
    ranked = probe(model, tmp_path, images=24)
    own = next(c for c in ranked if c.preprocessing == model.preprocessing and not c.graph)
    assert ranked[0].accuracy > own.accuracy
    adopted, why = verdict(ranked, model)
    assert adopted is own
    assert why.startswith(f"Undecided: {ranked[0].what} does no better than what the file has, beyond chance (p = ")


def ranking(best: str, own: str, others: int = 0) -> tuple[list[Candidate], Model]:
    """Two candidates with the images that they get right (1) and wrong (0), the model's own last."""
    model = colour_teller(Preprocessing.evaluation(16))
    bgr = Preprocessing.evaluation(16, channels="BGR")

    def judged(preprocessing, marks):
        right = tuple(mark == "1" for mark in marks)
        return Candidate(preprocessing, {}, sum(right) / len(right), 1.0, len(right), right)

    return [judged(bgr, best)] + [judged(bgr, own)] * others + [judged(model.preprocessing, own)], model


@pytest.mark.parametrize(
    ("best", "own", "others", "adopted"),
    [
        ("1" * 8, "0" * 8, 0, True),  # 2 candidates / 2^8 = 0.008
        ("1" * 8, "0" * 8, 10, True),  # 12 / 2^8 = 0.047
        ("1" * 8, "0" * 8, 11, False),  # 13 / 2^8 = 0.051: one of thirteen is sooner lucky than one of two
        ("1" * 8 + "0" * 8, "0" * 8 + "1" * 8, 0, False),  # as good, on other images
        ("1" * 80 + "1" * 5, "1" * 80 + "0" * 5, 0, False),  # 2 / 2^5 = 0.0625: five images of 85 decide nothing
        ("1" * 80 + "1" * 9 + "0", "1" * 80 + "0" * 9 + "1", 0, True),  # 2 * (1 + 10) / 2^10 = 0.021
    ],
)
def test_the_best_is_adopted_if_its_lead_is_more_than_luck(best, own, others, adopted):
    ranked, model = ranking(best, own, others)
    found, why = verdict(ranked, model)
    assert found is ranked[0 if adopted else -1]
    if adopted:
        assert why == f"The file most likely wants: {found.what}."
    else:
        assert why.startswith("Undecided: ")
        assert why.endswith(f"Kept: {found.what}.")


def test_the_models_own_is_kept_where_it_leads():
    ranked, model = ranking("0000", "1111")
    own, why = verdict(ranked[::-1], model)
    assert own is ranked[1]
    assert why == f"Nothing does better than what the file has: {own.what}."


def test_the_models_own_is_judged_by_all_images_however_bad_it_is(photo_folder):
    photos = photo_folder(COLOURS, images=20)
    model = colour_teller(Preprocessing.evaluation(16), ("red", "green", "blue"))  # it wants BGR
    ranked = probe(model, photos, images=60)
    whole = [c for c in ranked if c.images == 60]
    assert [c for c in whole if c.preprocessing == model.preprocessing]
    assert len(whole) < len(ranked)
    assert all(len(c.right) == c.images and sum(c.right) == pytest.approx(c.accuracy * c.images) for c in ranked)
    found, why = verdict(ranked, model)
    assert found is ranked[0]
    assert found.preprocessing.channels == "BGR"
    assert why.startswith("The file most likely wants: ")


def test_more_folders_than_classes_are_refused(photo_folder):
    photos = photo_folder(("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r"has 4 classes and the model 3: probe with images of the model's own"):
        probe(colour_teller(Preprocessing.evaluation(16)), photos)


def test_a_network_for_other_than_one_or_three_channels_is_refused(photos):
    network = create(SPEC, num_classes=3, in_channels=4, seed=0).eval()
    with pytest.raises(ModelFileError, match="takes 4 channels and a picture has 3"):
        probe(Model(network, COLOURS, Preprocessing.evaluation(16)), photos)


def test_a_network_of_one_channel_is_probed_in_grey(photos):
    network = create(SPEC, num_classes=3, in_channels=1, seed=0).eval()
    ranking = probe(Model(network, COLOURS, Preprocessing.evaluation(16)), photos)
    assert ranking[0].images > 0


def test_pictures_are_kept_small_and_resized_once_a_geometry(photos, monkeypatch):
    """Other resize rules are tried for what would be adopted, from the files again."""
    reads = []
    read = Preprocessing.read

    def counted(self, data):
        pixels = read(self, data)
        reads.append((self.geometry(), pixels.shape))
        return pixels

    monkeypatch.setattr(Preprocessing, "read", counted)
    ranked = probe(colour_teller(Preprocessing.evaluation(65)), photos, images=6)
    geometries = [geometry for geometry, _ in reads]
    assert {c.preprocessing.geometry() for c in ranked} == set(geometries)
    assert len(set(geometries)) == 4
    assert all(geometries.count(geometry) == 6 for geometry in geometries)
    assert {shape for _, shape in reads} == {(65, 65, 3)}


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
    started = Model(wrong, model.classes, start)
    best, why = verdict(probe(started, shared_data / "cifar10.zip", images=200), started)
    assert why == f"The file most likely wants: {best.what}."
    assert best.graph == {"pad_side": "both"}
    assert best.preprocessing == Preprocessing.evaluation(32)
    assert best.accuracy > 0.8
    assert np.isfinite(best.loss)


@pytest.mark.parametrize("images", [0, -5])
def test_no_images_are_not_taken_for_the_default(images, tmp_path):
    with pytest.raises(ParameterError, match="`images` says how many images `probe` takes, 1 or more"):
        convert("nothing is opened", tmp_path / "x.pth", probe="digits", images=images)
