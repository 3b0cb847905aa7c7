"""Two hundred damaged and odd files amid good photos: each is decoded, or named and left out."""

from __future__ import annotations

import random
import shutil

import odd_files
import pytest

from resnets.data.cache import cached
from resnets.data.decode import decode
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> list[odd_files.Odd]:
    return odd_files.make(tmp_path_factory.mktemp("odd"))


def test_there_are_enough(odd):
    assert len(odd) >= 200
    assert len({file.kind for file in odd}) >= 20
    assert len({file.path for file in odd}) == len(odd)
    assert sum(not file.usable for file in odd) >= 80


def test_the_same_seed_makes_the_same_files(odd, tmp_path):
    again = odd_files.make(tmp_path)
    assert [file.path.name for file in again] == [file.path.name for file in odd]
    same = [mine.path.read_bytes() == theirs.path.read_bytes() for mine, theirs in zip(odd, again, strict=True)]
    assert all(same)
    other = odd_files.make(tmp_path, seed=1)
    assert any(mine.path.read_bytes() != theirs.path.read_bytes() for mine, theirs in zip(odd, other, strict=True))


@pytest.mark.parametrize("archive", ["folder", "zip", "tar"])
def test_none_is_lost_and_none_passes_silently(odd, tmp_path, archive):
    rng, root = random.Random(0), tmp_path / "photos"
    kinds = {}
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
    for number, file in enumerate(odd):
        key = f"{('cat', 'dog')[number % 2]}/{file.path.name}"
        shutil.copy(file.path, root / key)
        kinds[key] = file
    good = [f"{name}/good {number}.jpg" for name in ("cat", "dog") for number in range(20)]
    for key in good:
        (root / key).write_bytes(odd_files.jpeg(rng))
    data = root if archive == "folder" else shutil.make_archive(str(root), archive, root)

    source = open_source(data)
    cache = cached(source, source.samples, Preprocessing.evaluation(32), workers=2)

    unusable = {key for key, file in kinds.items() if not file.usable}
    kept = [sample.key for sample in cache.samples]
    assert {key for key, _ in cache.skipped} == unusable
    assert all(why and why.isprintable() for _, why in cache.skipped)
    assert kept == [sample.key for sample in source.samples if sample.key not in unusable]
    assert set(good) <= set(kept)
    assert cache.images.shape == (len(kept), 32, 32, 3)
    for row in (0, len(kept) // 2, len(kept) - 1):  # no other sample has slipped into a skipped one's place
        expected = Preprocessing.evaluation(32).pixels(decode((root / kept[row]).read_bytes()))
        assert (cache.images[row] == expected).all()
