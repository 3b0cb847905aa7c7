"""Small sets of photos, cut from an archive of many: for the benchmarks of people's usual sets."""

import zipfile
from pathlib import Path

import numpy as np

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))  # of the archive's classes, in the order of their names
PHOTOS = 125  # of each class of a pair


def parted(words):
    """Words of a command line: (those before --, those behind it, which are for another command)."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


class Photos:
    """A .zip with train/ and val/: what is drawn comes from train/, what judges is all of val/."""

    def __init__(self, archive):
        self.zip = zipfile.ZipFile(archive)
        self.names = {}
        for name in sorted(self.zip.namelist()):
            *_, split, label, file = ("/" + name).split("/")
            if file:
                self.names.setdefault(split, {}).setdefault(label, []).append(name)
        self.classes = sorted(self.names["train"])

    def cut(self, folder, classes, images, seed):
        """Write folder/photos, with so many photos of each class (one number, or one of each), and folder/test, with
        all of val/. Returns both."""
        random = np.random.default_rng(seed)
        for number, count in zip(classes, np.broadcast_to(images, len(classes)), strict=True):
            label = self.classes[number]
            drawn = sorted(random.choice(self.names["train"][label], count, replace=False))
            for part, names in (("photos", drawn), ("test", self.names["val"][label])):
                place = Path(folder) / part / label
                place.mkdir(parents=True, exist_ok=True)
                for name in names:
                    (place / name.rpartition("/")[2]).write_bytes(self.zip.read(name))
        return Path(folder) / "photos", Path(folder) / "test"
