"""Near duplicates among pictures made here, of which we know which is a copy of which."""

import numpy as np
import pytest
from PIL import Image

from resnets.data.sample import Sample
from resnets.diagnosis.copies import Copies, joined
from resnets.diagnosis.duplicates import exact, near
from resnets.diagnosis.files import THUMB


def scene(seed, side=160):
    """Structures of all sizes, those of natural pictures: the larger, the stronger."""
    random = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (2, 4, 8, 16, 32, 80):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += (np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC), float) - 128) / cells**0.7
    return Image.fromarray((128 + total * 0.7).clip(0, 255).astype(np.uint8))


def thumbs(pictures):
    return np.stack([np.asarray(picture.resize((THUMB, THUMB), Image.Resampling.BILINEAR)) for picture in pictures])


@pytest.fixture(scope="module")
def scenes():
    return [scene(seed) for seed in range(60)]


@pytest.mark.parametrize("box", [(0, 0, 152, 152), (8, 8, 160, 160), (4, 3, 156, 155), (0, 8, 160, 160)])
def test_a_picture_cropped_by_five_percent_is_found_wherever_it_was_cut(scenes, box):
    copies = [picture.crop(box) for picture in scenes[:10]]
    assert near(thumbs(scenes + copies)) == [(i, 60 + i) for i in range(10)]


def test_resized_darkened_and_noisy_copies_are_found(scenes):
    small = [picture.resize((70, 90)) for picture in scenes[:10]]
    dark = [picture.point(lambda value: 0.8 * value + 5) for picture in scenes[10:20]]
    random = np.random.default_rng(1)
    noisy = [
        Image.fromarray((np.asarray(picture) + random.normal(0, 6, (160, 160, 3))).clip(0, 255).astype(np.uint8))
        for picture in scenes[20:30]
    ]
    assert near(thumbs([*scenes, *small, *dark, *noisy])) == [(i, 60 + i) for i in range(30)]


def test_a_common_background_makes_no_duplicates(scenes):
    """Products on a white ground: only the middle differs, and most of the brightness is the same in all."""
    products = []
    for picture in scenes:
        ground = Image.new("RGB", (160, 160), "white")
        ground.paste(picture.resize((60, 60)), (50, 50))
        products.append(ground)
    assert near(thumbs(products)) == []
    assert near(thumbs([*products, products[7]])) == [(7, 60)]


def test_few_and_plain_pictures_are_no_trouble(scenes):
    assert near(thumbs(scenes[:1])) == []
    assert near(thumbs([scenes[0], scenes[1]])) == []
    assert near(thumbs([scenes[0], scenes[0].crop((0, 0, 152, 152))])) == [(0, 1)]
    plain = np.full((3, THUMB, THUMB, 3), 200, np.uint8)
    near(np.concatenate([plain, thumbs(scenes[:5])]))  # no division by nothing


@pytest.mark.parametrize(("number", "cut"), [(12, 16), (1, 20)])
def test_one_candidate_alone_is_a_block_of_one(scenes, number, cut):
    """The middle of the original is like the copy, and nothing of the copy is like the original: one candidate."""
    copy = scenes[number].crop((cut, 0, 160, 160 - cut))
    assert near(thumbs([scenes[number], copy])) in ([], [(0, 1)])


def test_of_equal_files_one_stands_for_all(scenes):
    pictures = thumbs([scenes[0], scenes[0], scenes[0].crop((0, 0, 152, 152)), *scenes[1:]])
    assert near(pictures, [[0, 1]]) == [(0, 2)]


def test_equal_digests_make_groups():
    assert exact([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[0, 2, 5], [1, 4]]


def test_pairs_and_equal_files_join_to_groups():
    assert joined(8, [[0, 1]], [(0, 2), (2, 5)]) == [[0, 1, 2, 5]]
    assert joined(8, [[0, 1]], []) == []
    assert joined(8, [[6, 7]], [(3, 4)]) == [[3, 4]]


def test_what_a_copy_means_depends_on_where_it_lies():
    def samples(*places):
        return [Sample(f"{split}/{label}/{i}", label, split, 1) for i, (split, label) in enumerate(places)]

    def found(places, **groups):
        return {f.kind: f.severity for f in Copies(samples(*places), **{"exact": [], **groups}).findings()}

    across = [("train", "a"), ("val", "a")]
    assert found(across, exact=[[0, 1]]) == {"leak": "error"}
    assert found(across, near=[[0, 1]]) == {"near-leak": "error"}
    within = [("train", "a"), ("train", "a")]
    assert found(within, exact=[[0, 1]]) == {"duplicates": "warning"}
    assert found(within, near=[[0, 1]]) == {"near-duplicates": "warning"}
    assert found([("", "a"), ("", "a")], exact=[[0, 1]]) == {"duplicates": "error"}
    # Of two labels somebody has to decide, and "remove the copy" would be a second advice on the same pair.
    assert found([("train", "a"), ("train", "b")], exact=[[0, 1]]) == {"contradiction": "error"}
    assert found([("", "a"), ("", "b"), ("", "a")], exact=[[0, 1, 2]]) == {
        "duplicates": "error",
        "contradiction": "error",
    }


def test_a_picture_is_counted_once():
    samples = [Sample(f"a/{i}", "a", "", 1) for i in range(4)] + [Sample("b/0", "b", "", 1)]
    found = {f.kind: f for f in Copies(samples, [[0, 1], [3, 4]], [[0, 1, 2], [3, 4, 2]]).findings()}
    assert found["duplicates"].details["groups"] == [["a/0", "a/1"]]
    assert found["near-duplicates"].details["groups"] == [["a/0", "a/2"], ["a/3", "a/2"]]
    assert found["contradiction"].text.startswith("1 picture has two labels")
