"""What many tests need: the data at hand, small photo folders, a trained network, and a cache folder of their own.

Under `pytest -n N` each worker is a process with fixtures of its own. What is dear is made by the first that asks for
it (`once`), and read by all.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.architecture import ResNetSpec
from resnets.data.fetch import locked

# Before torch is imported, here and in every process that a test starts: as many processes as there are cores, with
# one thread each, are done sooner than half as many with two.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script, where Ctrl-C would not be tested
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, and none may download."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESNETS_HOME", str(tmp_path_factory.mktemp("resnets-home")))
        patch.setenv("RESNETS_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets and weights that lies beside a checkout on some machines."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared data sets are not at {folder}")
    return folder


@pytest.fixture
def photo_folder(tmp_path: Path) -> Callable[..., Path]:
    """A maker of folders of JPEG files, one colour per class with some noise, always the same."""

    def make(
        classes: Sequence[str] = ("cat", "dog"),
        images: int = 4,
        splits: Sequence[str] = (),
        name: str = "photos",
        size: tuple[int, int] = (24, 16),  # width, height
    ) -> Path:
        random = np.random.default_rng(0)
        for split in splits or ("",):
            for index, label in enumerate(classes):
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                for number in range(images):
                    pixels = random.integers(0, 60, (size[1], size[0], 3))
                    pixels[..., index % 3] += 60 + 130 // (1 + index // 3)
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, _own_home: None) -> Callable[..., Path]:
    """`once(name, make)`: a folder that `make(folder)` filled, the same for all workers. Only to be read."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of the whole session

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = base / "once" / name, base / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with locked(folder):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def trained(once: Callable[..., Path]) -> str:
    """The folder of a run: a small network that tells digits apart, for what judges accuracy. Only to be read."""
    spec = ResNetSpec(depths=(1, 1, 1), widths=(8, 16, 32), stem="cifar", block="basic")
    folder = once("digits", lambda folder: resnets.train("digits", model=spec, epochs=4, seed=1, out=folder / "run"))
    return str(folder / "run")


@pytest.fixture
def classifier(trained: str) -> resnets.Classifier:
    """The network of `trained`, loaded anew."""
    return resnets.load(trained)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test has logged of names that are not UTF-8 can be sent between processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
