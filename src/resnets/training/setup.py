"""Before the first step: what the data, the recipe and the weights decide together.

Image size, preprocessing, decoded images, classes, network. A resumed run comes through here again and must
come out the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from resnets.architecture import CATALOG, ResNetSpec, plan, spec_of
from resnets.architecture.catalog import name_of, same_network
from resnets.architecture.profile import bytes_to_run
from resnets.data import decode
from resnets.data.augment import Augmentation
from resnets.data.cache import Cache, cached
from resnets.data.labels import check_classes, class_names
from resnets.data.preprocess import FITS, Preprocessing
from resnets.data.sample import Sample
from resnets.data.source import Source
from resnets.data.split import Splits
from resnets.data.threads import attempt
from resnets.data.titles import titles_of
from resnets.errors import DataError, ImageError, RecipeError, SpecError
from resnets.network import ResNet, create, with_new_head
from resnets.progress import say
from resnets.text import printable
from resnets.training.recipe import Recipe
from resnets.weights import Model
from resnets.weights.model import check_memory
from resnets.weights.run import Asked

SMALL = 64  # pixels: up to here an image is used at its own size and shifted, above it is cropped


def data_size(source: Source, samples: Iterable[Sample], device: str, before: object = None) -> int:
    """The image size that suits the data: the median shorter side up to 16, 32 or 64; for photos 128, or 224 on a GPU.

    before      that of the run that goes on, which may have begun on another machine: of these two, its own

    Small images gain from being enlarged a little (a network halves the resolution at least twice), and photos at
    224 pixels take a processor three times as long as at 128.
    """
    samples = list(samples)

    def side(sample: Sample) -> int:
        return min(decode.size(source.read(sample.key)))

    found = [attempt(partial(side, sample)) for sample in samples[:: max(1, len(samples) // 100)]]
    sides = [one for one in found if not isinstance(one, ImageError)]  # decoding names the others
    median = float(np.median(sides)) if sides else 224.0
    fitting = [size for size in (16, 32, SMALL) if median <= size]
    if not fitting and isinstance(before, int) and before in (128, 224):
        return before
    return fitting[0] if fitting else (128 if device == "cpu" else 224)


def choose_preprocessing(
    recipe: Recipe,
    parent: Model | None,
    source: Source,
    splits: Splits,
    device: str,
    white: float | None,
    before: object = None,
) -> Preprocessing:
    """That of the weights to start from, at the recipe's size and fit if it names them; else what suits the data.

    white       of pictures of more than eight bits in this set, unless the weights know it; see `depth.full_scale`
    before      as in `data_size`
    """
    if parent is None:
        size = recipe.image_size or data_size(source, splits.train, device, before)
        usual = Preprocessing.evaluation(size, full_scale=white)
        return usual if recipe.fit == "auto" else usual.fitted(recipe.fit)
    known = parent.preprocessing
    if known.full_scale is None and white is not None:
        known = dataclasses.replace(known, full_scale=white)
    size = recipe.image_size or known.image_size
    if known.mean_image is not None and (size != known.image_size or recipe.start_size < 1):
        raise RecipeError(
            f"The weights subtract a mean image of {known.image_size} pixels: leave image_size={known.image_size}, "
            "start_size=1."
        )
    if size != known.image_size:
        ratio = known.resize_to / known.image_size
        known = dataclasses.replace(known, image_size=size, resize_to=round(size * ratio))
    same = recipe.fit == "auto" or FITS[recipe.fit] == known.resize
    whole = recipe.fit != "squash" or known.resize_to == size  # what stretches may crop all the same
    return known if same and whole else known.fitted(recipe.fit)


def decode_splits(
    source: Source,
    splits: Splits,
    preprocessing: Preprocessing,
    recipe: Recipe,
    strict: bool,
    gone: Mapping[str, str],
) -> tuple[Cache, Cache]:
    """Training and held-out images. The former keep the margin that the centre crop would cut off.

    gone    path -> why, of the files that a run which goes on has left out: they stay so, also where they could be read
            by now
    """
    roomy = preprocessing
    if augmentation(recipe, preprocessing.image_size).crop == "resized":
        roomy = dataclasses.replace(preprocessing, image_size=preprocessing.resize_to, mean_image=None)
    caches = (
        _decoded(source, splits.train, roomy, "decoding train", gone),
        _decoded(source, splits.held_out, preprocessing, f"decoding {splits.held_out_name}", gone),
    )
    skipped = [pair for cache in caches for pair in cache.skipped]
    if skipped and strict:
        key, why = skipped[0]
        raise DataError(
            f"{len(skipped)} files cannot be used, the first: {printable(key)} ({why}); "
            "without `strict` they are left out."
        )
    for key, why in skipped[:10]:
        say(f"left out: {printable(key)} ({why})")
    if len(skipped) > 10:
        say(f"left out: {len(skipped) - 10} more, all named in run.json")
    check_classes({"train": caches[0].samples, splits.held_out_name: caches[1].samples})
    for label in class_names(splits.train):
        if label not in class_names(caches[0].samples):
            raise DataError(f'Class "{printable(label)}" has no usable image: add photos to it, or remove its folder.')
    return caches


def _decoded(
    source: Source, samples: Sequence[Sample], preprocessing: Preprocessing, what: str, gone: Mapping[str, str]
) -> Cache:
    cache = cached(source, samples, preprocessing, what=what)
    if not (back := {sample.key: gone[sample.key] for sample in cache.samples if sample.key in gone}):
        return cache
    left = [sample for sample in samples if sample.key not in back]
    cache = cached(source, left, preprocessing, what=what)
    return dataclasses.replace(cache, skipped=(*back.items(), *cache.skipped))


def check_size(asked: Asked, parent: Model | None, image_size: int) -> None:
    """Raise ModelFileError, before anything is decoded, for images too large for the network."""
    spec = parent.network.plan.spec if parent else asked_spec(asked) or _usual(image_size)
    check_memory(bytes_to_run(plan(spec, image_size=image_size).rows), image_size)


def asked_spec(asked: Asked) -> ResNetSpec | None:
    """The network that was asked for; None for the usual one."""
    wanted = asked.network
    return ResNetSpec.from_dict(wanted) if isinstance(wanted, Mapping) else spec_of(wanted) if wanted else None


def _usual(image_size: int) -> ResNetSpec:
    return CATALOG["resnet20" if image_size <= SMALL // 2 else "resnet18"]


def make_network(
    asked: Asked, recipe: Recipe, parent: Model | None, classes: tuple[str, ...], image_size: int
) -> tuple[ResNet, str]:
    """The network to train, and its name: fresh, or with the weights of `parent` and a head for `classes`."""
    spec = asked_spec(asked)
    if parent is not None:
        own = parent.network.plan.spec
        if spec and not same_network(spec, own):
            raise SpecError("`model` differs from the network in `weights`: leave `model` out.")
        if classes == parent.classes and recipe.epochs:
            say("The classes are those of the weights: their head is kept.")
            return parent.network, name_of(own) or "custom"
        theirs = (
            f"'s head ({len(parent.classes)} classes) is replaced by" if parent.classes else " has no head, and gets"
        )
        say(f"The body{theirs} a new one for {len(classes)} classes.")
        return with_new_head(parent.network, len(classes), asked.seed), name_of(own) or "custom"
    if recipe.from_a_body:
        raise RecipeError(
            "The recipe starts from a trained body (probe, head_epochs, freeze or frozen norms): give `weights`, or a "
            "`recipe` that trains from scratch."
        )
    spec = spec or _usual(image_size)
    if recipe.zero_init_last and spec.starts_as_shortcuts:
        spec = dataclasses.replace(spec, zero_init_last=True)
    return create(spec, len(classes), seed=asked.seed), name_of(spec) or "custom"


def titles(source: Source, classes: tuple[str, ...], parent: Model | None) -> dict[str, str]:
    """Class -> what it is called in words: by a list beside the data, else by the weights to start from, or WordNet."""
    found, remark = titles_of(source, classes, parent.titles if parent else {})
    if remark:
        say(remark)
    return found


def augmentation(recipe: Recipe, image_size: int) -> Augmentation:
    """The recipe's augmentation at a size; the shift is meant for 32 pixels and shrinks with smaller images."""
    crop = ("shift" if image_size <= SMALL else "resized") if recipe.crop == "auto" else recipe.crop
    if recipe.mean == "pixel" and crop == "resized":
        raise RecipeError(
            f"mean='pixel' needs whole images, and at {image_size} pixels they are cropped: set crop='shift'."
        )
    return Augmentation(
        crop=crop,
        min_area=recipe.min_area,
        shift=-(-recipe.shift * min(image_size, 32) // 32),
        flip=recipe.flip,
        trivial=recipe.trivial_augment,
    )


def count_epochs(recipe: Recipe, images: int) -> int:
    """The recipe's epochs, or as many as its min_steps need."""
    steps = max(1, images // min(recipe.batch_size, images))
    return max(recipe.epochs, -(-recipe.min_steps // steps))


def label_indices(cache: Cache, classes: tuple[str, ...]) -> np.ndarray:
    """(N,) int64 class index of each image."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[sample.label] for sample in cache.samples], dtype=np.int64)


def mean_image(images: np.ndarray) -> np.ndarray:
    """(3, S, S) float32 of 0..1: the mean of every pixel over (N, S, S, 3)."""
    total = np.zeros(images.shape[1:], np.float64)
    for first in range(0, len(images), 1024):
        total += images[first : first + 1024].sum(0, dtype=np.float64)
    return (total / len(images) / 255).transpose(2, 0, 1).astype(np.float32)
