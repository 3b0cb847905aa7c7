"""Order and dice depend on (seed, epoch, index) alone: that is what makes a resumed run exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnets.data.augment import DICE
from resnets.data.batches import CachedBatches
from resnets.errors import DataError


def make(count: int = 23, batch_size: int = 4, seed: int = 5, workers: int = 1) -> CachedBatches:
    """Batches whose image i is filled with the value i, has the label 3 i and the name "i.jpg"."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3)).copy()
    keys = [f"{number}.jpg" for number in range(count)]
    return CachedBatches(images, 3 * np.arange(count), keys, batch_size, seed, workers)


def same(first, second) -> bool:
    return (
        first.step == second.step
        and np.array_equal(first.indices, second.indices)
        and all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("images", "labels", "dice"))
    )


def dice_of(batches: CachedBatches, epoch: int) -> dict[int, tuple[float, ...]]:
    """Index of an image to its dice."""
    return {
        int(index): tuple(row)
        for batch in batches.epoch(epoch)
        for index, row in zip(batch.indices, batch.dice.tolist(), strict=True)
    }


def test_a_batch_holds_what_its_indices_say():
    for batch in make().epoch(0):
        assert batch.images.shape == (4, 2, 2, 3)
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == torch.int64
        assert batch.dice.shape == (4, DICE)
        assert batch.dice.dtype == torch.float32
        assert batch.waited >= 0
        assert batch.images[:, 1, 0, 2].tolist() == batch.indices.tolist()
        assert batch.labels.tolist() == (3 * batch.indices).tolist()


@pytest.mark.parametrize("workers", [2, 3, 16])
def test_the_batches_do_not_depend_on_the_workers(workers):
    for epoch in range(3):
        alone, many = list(make().epoch(epoch)), list(make(workers=workers).epoch(epoch))
        assert len(alone) == 5
        assert all(same(*pair) for pair in zip(alone, many, strict=True))


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("workers", [1, 3])
def test_an_epoch_goes_on_in_its_middle_as_if_it_had_not_stopped(start, workers):
    whole = list(make().epoch(2))
    rest = list(make(workers=workers).epoch(2, start))
    assert len(rest) == 5 - start
    assert all(same(*pair) for pair in zip(whole[start:], rest, strict=True))


def test_an_epoch_does_not_depend_on_those_before_it():
    batches = make()
    for epoch in (0, 1, 7):
        list(batches.epoch(epoch))
    assert all(same(*pair) for pair in zip(batches.epoch(4), make().epoch(4), strict=True))


def test_epochs_and_seeds_differ_and_repeat():
    seen = [make(seed=seed).order(epoch).tolist() for seed in range(4) for epoch in range(4)]
    assert len(set(map(tuple, seen))) == 16
    assert seen == [make(seed=seed).order(epoch).tolist() for seed in range(4) for epoch in range(4)]
    rolled = [tuple(dice_of(make(count=4, seed=seed), epoch)[0]) for seed in range(4) for epoch in range(4)]
    assert len(set(rolled)) == 16


def test_the_dice_of_an_image_depend_on_neither_the_batch_size_nor_the_number_of_images():
    few, many = dice_of(make(count=12), 3), dice_of(make(count=200, batch_size=7), 3)
    shared = few.keys() & many.keys()
    assert len(shared) >= 11
    assert all(few[index] == many[index] for index in shared)


def test_dice_are_uniform_and_the_columns_independent():
    rows = np.array(list(dice_of(make(count=250, batch_size=250), 0).values()))
    assert rows.min() >= 0
    assert rows.max() < 1
    assert len(np.unique(rows)) > 0.999 * rows.size
    assert np.abs(rows.mean(0) - 0.5).max() < 4 * (1 / 12 / 250) ** 0.5
    assert np.abs(np.corrcoef(rows.T) - np.eye(DICE)).max() < 0.3


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(23, 4, 5), (24, 4, 6), (3, 4, 1), (4, 4, 1), (7, 1, 7)])
def test_every_image_comes_at_most_once_and_the_rest_waits_for_another_epoch(count, batch_size, steps):
    batches = make(count, batch_size)
    assert batches.steps == steps
    left_out = set()
    for epoch in range(8):
        found = list(batches.epoch(epoch))
        seen = [int(index) for batch in found for index in batch.indices]
        assert len(found) == steps
        assert {len(batch.indices) for batch in found} == {min(batch_size, count)}
        assert len(seen) == len(set(seen)) == steps * min(batch_size, count)
        left_out.add(frozenset(range(count)) - frozenset(seen))
    assert len(left_out) > 1 or not count % min(batch_size, count)


def test_indices_name_the_images_of_a_batch_before_and_after_it():
    batches = make()
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            assert np.array_equal(batches.indices(epoch, batch.step), batch.indices)
            assert batches.names(epoch, batch.step) == [f"{index}.jpg" for index in batch.indices]


def test_a_memory_map_is_read_and_never_written(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    path = tmp_path / "pixels"
    path.write_bytes(stored.tobytes())
    for mode in ("r", "c"):
        mapped = np.memmap(path, np.uint8, mode=mode, shape=stored.shape)
        for batch in CachedBatches(mapped, np.arange(10), list("abcdefghij"), 3, seed=0, workers=2).epoch(0):
            assert np.array_equal(batch.images.numpy(), stored[batch.indices])
            batch.images.zero_()
    assert path.read_bytes() == stored.tobytes()


def test_stopping_in_the_middle_ends_the_threads():
    import threading

    batches = make(count=100, workers=3).epoch(0)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (3, 2), (0, 2)])
def test_nothing_to_train_on_is_refused(images, labels):
    with pytest.raises(DataError, match=f"{images} images but {labels} labels"):
        CachedBatches(np.zeros((images, 2, 2, 3), np.uint8), np.zeros(labels, np.int64), "a" * images, 4, seed=0)


def test_as_many_names_as_images():
    with pytest.raises(DataError, match="3 images but 3 labels and 2 names"):
        CachedBatches(np.zeros((3, 2, 2, 3), np.uint8), np.zeros(3, np.int64), ["a", "b"], 4, seed=0)
