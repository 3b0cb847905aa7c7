"""A real checkpoint of others, thin and with a bias everywhere, against OpenCV: the same answers for real photos."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from environments import Unavailable
from frameworks import work

from resnets import convert, load

pytestmark = [pytest.mark.parity, pytest.mark.timeout(3600)]

PHOTOS = 50


def test_its_probabilities_are_those_of_opencv(shared_data, tmp_path):
    """With the preprocessing that its authors state, given as `convert` takes it and read from the model file."""
    folder = shared_data / "weights" / "open_nsfw"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    model = tmp_path / "model.caffemodel"
    shutil.copy(folder / "resnet_50_1by2_nsfw.caffemodel", model)
    shutil.copy(folder / "deploy.prototxt", model.with_suffix(".prototxt"))
    (tmp_path / "names.txt").write_text("sfw\nnsfw\n")
    said = {"mean": [104, 117, 123], "order": "BGR", "resize": "256x256", "crop": 224}
    convert(model, tmp_path / "own.safetensors", class_names=tmp_path / "names.txt", preprocessing=said)
    classifier = load(tmp_path / "own.safetensors")
    with zipfile.ZipFile(shared_data / "imagenette.zip") as archive:
        names = sorted(
            name for name in archive.namelist() if "/val/" in f"/{name}" and name.endswith((".jpg", ".JPEG"))
        )
        photos = [archive.read(name) for name in names[:: len(names) // PHOTOS][:PHOTOS]]
    pixels = np.stack([classifier.preprocessing.read(photo) for photo in photos])
    np.savez(tmp_path / "io_224.npz", x=classifier.input(pixels).numpy())
    try:
        work("opencv", "run", model, "prob", "224", tmp_path)
    except Unavailable as problem:
        pytest.skip(str(problem))
    theirs = np.load(tmp_path / "result_224.npz")["logits"]
    ours = classifier.probabilities(classifier.logits(pixels)).numpy()
    assert classifier.classes == ("sfw", "nsfw")
    assert theirs.shape == ours.shape == (PHOTOS, 2)
    assert np.abs(theirs - ours).max() < 1e-5
