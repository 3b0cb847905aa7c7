"""Data sets with a name: where they come from, their checksums, and how they become an archive.

A downloaded set is converted once, without loss, into an archive of image files in class folders. From
then on it is data like any other. ``digits`` comes with scikit-learn and needs no network.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from resnets.data.archives import open_archive
from resnets.data.fetch import fetch, locked
from resnets.data.layout import arrange
from resnets.data.source import Source
from resnets.errors import DataError
from resnets.progress import track
from resnets.whole import whole

if TYPE_CHECKING:
    import numpy as np

LARGEST = 2**28  # bytes of one unpacked file of a set; the largest real one has 153,700,000
SIDE = 32  # of a CIFAR image


@dataclass(frozen=True)
class Remote:
    """One file to download. The owners publish MD5 sums, which guard against accidents."""

    url: str
    size: int  # bytes
    md5: str

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class NamedSet:
    """A downloadable set. ``convert`` writes the archive from the downloaded files."""

    archive: str
    files: tuple[Remote, ...]
    convert: Callable[[Sequence[Path], BinaryIO], None]


def here(path: str) -> str:
    """An absolute path as one types it in the current folder; names of sets, and all else, as they are."""
    if not os.path.isabs(path):
        return path
    try:
        near = os.path.relpath(path)
    except (ValueError, OSError):  # on another drive, or in a folder that is gone
        return path
    return os.path.join(".", near) if near in NAMES or near.startswith("-") else near


def open_named(name: str) -> Source:
    """Open one of ``NAMES``; the first time, download and convert it.

    A copy of a download, or of the converted archive, that lies in ``RESNETS_HOME/datasets`` is used
    instead of the network.

    Raises FetchError: the download failed; DataError: there is no room to convert it, or it is not in the expected
    form.
    """
    if name == "digits":
        return Digits()
    archive = prepared(name, SETS[name])
    try:
        return _opened(archive)
    except (DataError, OSError):  # cut off, or overwritten: it can be made again
        archive.unlink(missing_ok=True)
        return _opened(prepared(name, SETS[name]))


def _opened(archive: Path) -> Source:
    return open_archive(str(archive), str(archive))


def prepared(name: str, named: NamedSet) -> Path:
    """The path of the set's archive, which is made if it is not there yet."""
    from resnets.machine import home

    folder = home() / "datasets"
    archive = folder / named.archive
    if archive.is_file():
        return archive
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(archive):
            if not archive.is_file():  # another process may have made it meanwhile
                paths = [
                    fetch(remote.url, folder / remote.filename, md5=remote.md5, size=remote.size)
                    for remote in named.files
                ]
                with whole(archive) as file:
                    _convert(name, named, paths, file)
    except OSError as error:
        raise DataError(
            f"{archive} cannot be written: {error.strerror or error}; free some space, or set "
            "RESNETS_HOME to a folder that can be written."
        ) from error
    return archive


def _convert(name: str, named: NamedSet, paths: Sequence[Path], file: BinaryIO) -> None:
    try:
        named.convert(paths, file)
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError, ValueError, KeyError) as error:
        raise DataError(
            f"The download of {name} is not in the expected form ({error}): remove it from {paths[0].parent}."
        ) from error


class Digits(Source):
    """scikit-learn's 1,797 handwritten digits, 8×8 grey, 0..16 scaled to 0..255; keys "7/0042.png"."""

    def __init__(self) -> None:
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        self._files = {
            f"{label}/{index:04}.png": _png(image)
            for index, (image, label) in enumerate(zip(images, digits.target, strict=True))
        }
        sizes = {key: len(data) for key, data in self._files.items()}
        super().__init__("digits", arrange("digits", sizes), lambda key: zlib.crc32(self._files[key]))

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        return self._files[key]


def _png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W) or (H, W, 3) as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def _write(archive: BinaryIO, classes: Sequence[str], splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write images (N, H, W) or (N, H, W, 3) and labels (N) of each split as SPLIT/CLASS/NUMBER.png."""
    total = sum(len(labels) for _, labels in splits.values())
    with zipfile.ZipFile(archive, "w") as target, track("converting to PNG", total) as advance:
        for split, (images, labels) in splits.items():
            if len(labels) != len(images) or (len(labels) and labels.max() >= len(classes)):
                raise ValueError("its labels do not fit its images")
            for number, (image, label) in enumerate(zip(images, labels, strict=True), 1):
                info = zipfile.ZipInfo(f"{split}/{classes[label]}/{number:05}.png")  # with a fixed date
                target.writestr(info, _png(image))
                advance(1)


def _members(path: Path) -> dict[str, bytes]:
    """The files of a small .tar.gz by their last names."""
    files = {}
    with tarfile.open(path, "r|gz") as archive:
        for info in archive:
            if info.size > LARGEST:
                raise ValueError(f"{info.name} is too large")
            if info.isreg() and (file := archive.extractfile(info)):
                files[info.name.rpartition("/")[2]] = file.read()
    return files


def _cifar(
    paths: Sequence[Path],
    archive: BinaryIO,
    *,
    train: Sequence[str],
    test: Sequence[str],
    names: str,
    label_bytes: int,
) -> None:
    """The binary version: records of labels (the last one counts) and 3×32×32 pixels."""
    import numpy as np

    files = _members(paths[0])

    def images_and_labels(members: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        records = np.frombuffer(b"".join(files[member] for member in members), np.uint8)
        records = records.reshape(-1, label_bytes + 3 * SIDE * SIDE)
        images = records[:, label_bytes:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), records[:, label_bytes - 1]

    splits = {"train": images_and_labels(train), "test": images_and_labels(test)}
    _write(archive, files[names].decode("ascii").split(), splits)


FASHION = (
    "T-shirt-top",  # "T-shirt/top" cannot be a folder
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def _fashion_mnist(paths: Sequence[Path], archive: BinaryIO) -> None:
    """Convert the four files: training images and labels, test images and labels."""
    train, train_labels, test, test_labels = map(_idx, paths)
    _write(archive, FASHION, {"train": (train, train_labels), "test": (test, test_labels)})


def _idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes: two zeros, 8, the number of dimensions, each as 4 bytes, the data."""
    import numpy as np

    with gzip.open(path) as file:
        magic = file.read(4)
        if magic[:3] != b"\0\0\x08" or magic[3] not in (1, 3):
            raise ValueError(f"{path.name} is no IDX file of bytes")
        shape = [int.from_bytes(file.read(4), "big") for _ in range(magic[3])]
        size = int(np.prod(shape, dtype=object))
        if size > LARGEST:
            raise ValueError(f"{path.name} claims to be too large")
        data = file.read(size + 1)
    return np.frombuffer(data, np.uint8).reshape(shape)  # refuses another number of bytes


def _imagenette(paths: Sequence[Path], archive: BinaryIO) -> None:
    """Turn the .tgz into a plain .tar, which can be read at random."""
    with gzip.open(paths[0]) as packed:
        shutil.copyfileobj(packed, archive, 2**20)


# Addresses, sizes and sums as their owners and torchvision's data sets give them.
_CIFAR = "https://www.cs.toronto.edu/~kriz"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas"
SETS = {
    "cifar10": NamedSet(
        "cifar10.zip",
        (Remote(f"{_CIFAR}/cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),),
        partial(
            _cifar,
            train=[f"data_batch_{number}.bin" for number in range(1, 6)],
            test=["test_batch.bin"],
            names="batches.meta.txt",
            label_bytes=1,
        ),
    ),
    "cifar100": NamedSet(
        "cifar100.zip",
        (Remote(f"{_CIFAR}/cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),),
        partial(_cifar, train=["train.bin"], test=["test.bin"], names="fine_label_names.txt", label_bytes=2),
    ),
    "fashion-mnist": NamedSet(
        "fashion-mnist.zip",
        (
            Remote(f"{_FASHION}/train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            Remote(f"{_FASHION}/train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            Remote(f"{_FASHION}/t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            Remote(f"{_FASHION}/t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        _fashion_mnist,
    ),
    "imagenette": NamedSet(
        "imagenette.tar",
        (Remote(f"{_FASTAI}/imagenette2-320.tgz", 341_663_724, "3df6f0d01a2c9592104656642f5e78a3"),),
        _imagenette,
    ),
}
NAMES = ("digits", *SETS)
