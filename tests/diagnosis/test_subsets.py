"""The doctor on random parts of real sets: few or many photos, any classes, any imbalance, with splits and without."""

import json
import zipfile

import numpy as np
import pytest

from resnets.diagnosis import doctor
from resnets.diagnosis.diagnosis import SEVERITIES

SETS = ("imagenette.zip", "cifar10.zip")
FEW, MANY = range(12), range(12, 212)


@pytest.fixture(scope="module")
def archives(shared_data):
    """Name -> (archive, class -> its entries)."""
    found = {}
    for name in SETS:
        archive = zipfile.ZipFile(shared_data / name)
        classes = {}
        for entry in archive.namelist():
            if not entry.endswith("/"):
                classes.setdefault(entry.split("/")[1], []).append(entry)
        found[name] = archive, classes
    yield found
    for archive, _ in found.values():
        archive.close()


def subset(archives, folder, seed, most):
    """A random part of one of the sets: `most` photos or fewer, 60 at least, of two classes or more."""
    random = np.random.default_rng(seed)
    archive, classes = archives[SETS[seed % 2]]
    images = int(random.integers(60, most + 1))
    chosen = random.choice(sorted(classes), int(random.integers(2, len(classes) + 1)), replace=False)
    shares = random.dirichlet(np.full(len(chosen), random.choice([0.5, 2, 50])))
    with_splits = seed % 3 == 0
    for label, share in zip(chosen, shares, strict=True):
        own = random.choice(classes[label], max(3, round(images * share)), replace=False)
        for number, entry in enumerate(own):
            split = ("val/" if number % 4 == 0 else "train/") if with_splits else ""
            place = folder / f"{split}{label}" / entry.rpartition("/")[2]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry))
    return folder


def check(folder):
    """Whatever the doctor says of a set, it says of files that are there, in JSON, with a mend."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    document = json.loads(json.dumps(doctor(folder).document(), allow_nan=False))
    assert document["images"] == len(files)
    for finding in document["findings"]:
        assert finding["severity"] in SEVERITIES
        assert finding["text"].endswith(".")
        assert finding["mend"]
        assert set(finding["paths"]) <= files
        for group in finding.get("groups", ()):
            assert len(set(group)) == len(group) >= 2


@pytest.mark.parametrize("seed", FEW)
def test_a_small_part_of_a_real_set(archives, tmp_path, seed):
    check(subset(archives, tmp_path / "photos", seed, most=99))


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_a_part_of_a_real_set(archives, tmp_path, seed):
    check(subset(archives, tmp_path / "photos", seed, most=600))
