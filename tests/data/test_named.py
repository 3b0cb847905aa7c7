"""Named data sets: digits, and the conversion of tiny copies in the real formats from a local server."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.data import named
from resnets.data.labels import class_names
from resnets.data.named import SETS, NamedSet, Remote
from resnets.data.open import open_source
from resnets.data.source import Source
from resnets.data.split import split
from resnets.errors import DataError, FetchError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class World:
    """A server with the files of ``set_name``, and an empty RESNETS_HOME."""

    def __init__(self, url: str, served: Path, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.url, self.served, self.datasets, self._patch = url, served, home / "datasets", patch

    def publish(self, set_name: str, files: dict[str, bytes]) -> None:
        """Serve ``files`` in place of the real ones of the set, with their checksums."""
        remotes = []
        for filename, data in files.items():
            (self.served / filename).write_bytes(data)
            remotes.append(Remote(f"{self.url}/{filename}", len(data), hashlib.md5(data).hexdigest()))
        real = SETS[set_name]
        assert [remote.filename for remote in real.files] == list(files)
        self._patch.setitem(SETS, set_name, NamedSet(real.archive, tuple(remotes), real.convert))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("RESNETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RESNETS_OFFLINE")
    handler = functools.partial(Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield World(f"http://127.0.0.1:{server.server_port}", served, tmp_path / "home", monkeypatch)
        server.shutdown()
        thread.join()


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pixels(source: Source, key: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(source.read(key))))


def cifar(count: int, label_bytes: int, seed: int) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Images (N, 32, 32, 3), labels (N), and both as the records that the binary version has."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = (np.arange(count) % 3).astype(np.uint8)
    coarse = np.full((count, label_bytes - 1), 9, np.uint8)
    records = np.concatenate([coarse, labels[:, None], images.transpose(0, 3, 1, 2).reshape(count, -1)], axis=1)
    return images, labels, records.tobytes()


NAMES = ("airplane", "bird", "cat")


def cifar10_files() -> tuple[dict[str, bytes], list[tuple[np.ndarray, np.ndarray]]]:
    batches = [cifar(6, 1, seed) for seed in range(6)]
    folder = "cifar-10-batches-bin"
    files = {f"{folder}/data_batch_{n + 1}.bin": batches[n][2] for n in range(5)}
    files |= {f"{folder}/test_batch.bin": batches[5][2], f"{folder}/readme.html": b"hello"}
    files[f"{folder}/batches.meta.txt"] = "\n".join(NAMES).encode() + b"\n\n"
    return files, [(images, labels) for images, labels, _ in batches]


def test_cifar10_is_converted_without_loss_and_once(world: World) -> None:
    files, batches = cifar10_files()
    world.publish("cifar10", {"cifar-10-binary.tar.gz": tar_gz(files)})
    source = open_source("cifar10")
    assert class_names(source.samples) == NAMES
    assert len(source.samples) == 36
    number = 0
    for images, labels in batches[:5]:
        for image, label in zip(images, labels, strict=True):
            number += 1
            np.testing.assert_array_equal(pixels(source, f"train/{NAMES[label]}/{number:05}.png"), image)
    np.testing.assert_array_equal(pixels(source, "test/cat/00003.png"), batches[5][0][2])
    assert split(source).record()["counts"] == {"train": 30, "test": 6}

    (world.served / "cifar-10-binary.tar.gz").unlink()  # never asked for again
    assert open_source("cifar10").fingerprint == source.fingerprint
    left = {path.name for path in world.datasets.iterdir() if not path.name.endswith(".lock")}
    assert left == {"cifar10.zip", "cifar-10-binary.tar.gz"}


def test_cifar100_takes_the_fine_labels(world: World) -> None:
    images, _, train = cifar(6, 2, 0)
    _, _, test = cifar(3, 2, 1)
    files = {
        "cifar-100-binary/train.bin": train,
        "cifar-100-binary/test.bin": test,
        "cifar-100-binary/coarse_label_names.txt": b"wrong\n" * 20,
        "cifar-100-binary/fine_label_names.txt": "\n".join(NAMES).encode(),
    }
    world.publish("cifar100", {"cifar-100-binary.tar.gz": tar_gz(files)})
    source = open_source("cifar100")
    assert class_names(source.samples) == NAMES
    np.testing.assert_array_equal(pixels(source, "train/bird/00005.png"), images[4])


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes())


def fashion_files(count: int = 20) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (np.arange(count) % 10).astype(np.uint8)
    return {
        "train-images-idx3-ubyte.gz": random.integers(0, 256, (count, 28, 28), np.uint8),
        "train-labels-idx1-ubyte.gz": labels,
        "t10k-images-idx3-ubyte.gz": random.integers(0, 256, (count, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte.gz": labels[::-1],
    }


def test_fashion_mnist_is_converted_without_loss(world: World) -> None:
    arrays = fashion_files()
    world.publish("fashion-mnist", {name: idx(array) for name, array in arrays.items()})
    source = open_source("fashion-mnist")
    assert len(class_names(source.samples)) == 10
    assert "T-shirt-top" in class_names(source.samples)
    np.testing.assert_array_equal(pixels(source, "train/Trouser/00012.png"), arrays["train-images-idx3-ubyte.gz"][11])
    np.testing.assert_array_equal(pixels(source, "test/Ankle boot/00001.png"), arrays["t10k-images-idx3-ubyte.gz"][0])


def test_imagenette_becomes_a_plain_tar(world: World) -> None:
    files = {f"imagenette2-320/{s}/n0{c}/{c}.JPEG": bytes([c]) * 99 for s in ("train", "val") for c in (1, 2)}
    world.publish("imagenette", {"imagenette2-320.tgz": tar_gz(files | {"imagenette2-320/noisy.csv": b"x"})})
    source = open_source("imagenette")
    assert {sample.key: source.read(sample.key) for sample in source.samples} == files
    assert class_names(source.samples) == ("n01", "n02")


def broken_tar_member() -> dict[str, bytes]:
    files, _ = cifar10_files()
    files["cifar-10-batches-bin/test_batch.bin"] += b"!"
    return {"cifar-10-binary.tar.gz": tar_gz(files)}


def missing_member() -> dict[str, bytes]:
    files, _ = cifar10_files()
    del files["cifar-10-batches-bin/data_batch_3.bin"]
    return {"cifar-10-binary.tar.gz": tar_gz(files)}


def unknown_label() -> dict[str, bytes]:
    files, _ = cifar10_files()
    files["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\nbird\n"
    return {"cifar-10-binary.tar.gz": tar_gz(files)}


def huge_claim() -> dict[str, bytes]:
    files = {name: idx(array) for name, array in fashion_files().items()}
    files["train-images-idx3-ubyte.gz"] = gzip.compress(b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3)
    return files


def short_idx() -> dict[str, bytes]:
    files = {name: idx(array) for name, array in fashion_files().items()}
    files["t10k-images-idx3-ubyte.gz"] = gzip.compress(gzip.decompress(files["t10k-images-idx3-ubyte.gz"])[:-1])
    return files


@pytest.mark.parametrize(
    ("set_name", "make"),
    [
        ("cifar10", broken_tar_member),
        ("cifar10", missing_member),
        ("cifar10", unknown_label),
        ("cifar10", lambda: {"cifar-10-binary.tar.gz": tar_gz(cifar10_files()[0])[:-500]}),
        ("cifar10", lambda: {"cifar-10-binary.tar.gz": b"no archive at all"}),
        ("fashion-mnist", huge_claim),
        ("fashion-mnist", short_idx),
        ("fashion-mnist", lambda: dict.fromkeys(fashion_files(), b"not gzip")),
        ("imagenette", lambda: {"imagenette2-320.tgz": gzip.compress(bytes(9999))[:-9]}),
    ],
)
def test_a_download_in_another_form_is_explained_and_leaves_no_archive(
    world: World, set_name: str, make: Callable[[], dict[str, bytes]]
) -> None:
    world.publish(set_name, make())
    with pytest.raises(DataError, match=f"download of {set_name} is not in the expected form"):
        open_source(set_name)
    assert not (world.datasets / SETS[set_name].archive).exists()


def test_a_conversion_that_was_killed_is_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish("cifar10", {"cifar-10-binary.tar.gz": tar_gz(cifar10_files()[0])})
    with monkeypatch.context() as patch:
        patch.setattr(named, "_png", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_source("cifar10")
    assert not (world.datasets / "cifar10.zip").exists()
    assert len(open_source("cifar10").samples) == 36


@pytest.mark.parametrize("damage", ["cut", "zeros", "pipe"])
def test_a_prepared_archive_that_is_damaged_is_made_again(world: World, damage: str) -> None:
    world.publish("cifar10", {"cifar-10-binary.tar.gz": tar_gz(cifar10_files()[0])})
    assert len(open_source("cifar10").samples) == 36
    archive = world.datasets / "cifar10.zip"
    data = archive.read_bytes()
    archive.unlink()
    if damage == "pipe":
        os.mkfifo(archive)
    else:
        archive.write_bytes(data[:-50] if damage == "cut" else bytes(len(data)))
    source = open_source("cifar10")
    assert len([source.read(sample.key) for sample in source.samples]) == 36
    assert archive.read_bytes() == data


def test_a_full_disk_is_explained(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish("cifar10", {"cifar-10-binary.tar.gz": tar_gz(cifar10_files()[0])})
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(named, "_png", lambda _: (_ for _ in ()).throw(full))
    with pytest.raises(DataError, match=r"No space left on device; free some space, or set RESNETS_HOME"):
        open_source("cifar10")


def test_local_copies_are_used_without_network(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_OFFLINE", "1")
    data = tar_gz(cifar10_files()[0])
    world.publish("cifar10", {"cifar-10-binary.tar.gz": data})
    place = re.escape(str(world.datasets / "cifar-10-binary.tar.gz"))
    with pytest.raises(FetchError, match=f"RESNETS_OFFLINE.*put a copy of it at {place}"):
        open_source("cifar10")
    (world.datasets / "cifar-10-binary.tar.gz").write_bytes(data)
    assert len(open_source("cifar10").samples) == 36


def test_several_at_once_convert_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish("cifar10", {"cifar-10-binary.tar.gz": tar_gz(cifar10_files()[0])})
    made: list[int] = []
    monkeypatch.setattr(named, "_png", lambda image, png=named._png: made.append(1) or png(image))
    threads = [threading.Thread(target=open_source, args=("cifar10",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 36


def test_a_folder_with_the_name_of_a_set_is_reached_by_its_path(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_folder(name="digits").parent)
    assert class_names(open_source("./digits").samples) == ("cat", "dog")
    assert class_names(open_source(Path("digits")).samples) == ("cat", "dog")
    assert len(open_source("digits").samples) == 1797


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    source = open_source("digits")
    digits = load_digits()
    assert class_names(source.samples) == tuple("0123456789")
    for index in (0, 1, 1796):
        image = pixels(source, f"{digits.target[index]}/{index:04}.png")
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image / 255 * 16, digits.images[index], atol=16 / 255 / 2 + 1e-9)
    assert pixels(source, "0/0000.png").max() <= 255
    assert max(pixels(source, sample.key).max() for sample in source.samples) == 255
    assert source.fingerprint == open_source("digits").fingerprint
    assert split(source).record()["counts"] == {"train": 1438, "val": 359}
