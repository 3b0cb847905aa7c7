"""The one path from a picture to a network's input, shared by training, evaluation and prediction.

`Preprocessing` says how a picture is resized, cropped and normalised. It travels inside the model file,
so that whoever has the file prepares pictures exactly as they were prepared in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from PIL import Image

from resnets.data import decode
from resnets.errors import DataError, ModelFileError

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SIZE = 4096  # of the network's input: a picture of floats takes 200 MB then
MAX_BETWEEN = 32_000_000  # pixels of four bytes between two passes of resampling
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SUPPORT = {"bilinear": 1, "bicubic": 2}  # pixels that a filter reaches to either side, at equal size
FITS: dict[str, Literal["shorter", "stretch", "longer"]] = {"crop": "shorter", "squash": "stretch", "pad": "longer"}
"""How a picture of any shape becomes a square: its middle, all of it stretched, or all of it with a margin."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Preprocessing:
    """How a picture becomes the input of a network.

    A square is cut from the centre of the picture as it would be with its shorter side (`resize="shorter"`) or both
    sides (`"stretch"`) at `resize_to` pixels; or (`"longer"`) the whole picture lies in the middle of the square, and
    the rest of it has the colour `fill`.

    image_size      side of the square that the network sees, in pixels, from 1 to 4096
    resize          which side of the picture is made `resize_to` pixels long: the shorter, both, or the longer
    resize_to       in pixels, at least `image_size`; where the longer side is meant, as long
    interpolation   how pixels between pixels are found, antialiased where the picture shrinks
    channels        the order that the network wants
    mean, std       in units of a picture of 0..1, in that order: the input is (picture - mean) / std
    full_scale      the value of white in pictures of more than eight bits; None: what each file's format says
    mean_image      (3, image_size, image_size) float32 in the same units and order, subtracted instead of `mean` where
                    a network was trained so (Caffe)

    Raises DataError for a value of the wrong type, out of range, or in contradiction to another.
    """

    image_size: int
    resize: Literal["shorter", "stretch", "longer"] = "shorter"
    resize_to: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    full_scale: float | None = None
    mean_image: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check every value: they come from users and from files."""
        _check_int("image_size", self.image_size, 1, MAX_SIZE)
        _check_int("resize_to", self.resize_to, self.image_size, 2 * MAX_SIZE)
        _check_choice("resize", self.resize, ("shorter", "stretch", "longer"))
        if self.resize == "longer" and self.resize_to != self.image_size:
            raise DataError(
                f"preprocessing: where the longer side is resized, resize_to is image_size, {self.image_size}, and not "
                f"{self.resize_to}."
            )
        _check_choice("interpolation", self.interpolation, tuple(_FILTERS))
        _check_choice("channels", self.channels, ("RGB", "BGR"))
        object.__setattr__(self, "mean", _triple("mean", self.mean, 0.0, 1.0))
        object.__setattr__(self, "std", _triple("std", self.std, 1e-6, 1e6))
        if self.full_scale is not None:
            object.__setattr__(self, "full_scale", _full_scale(self.full_scale))
        if self.mean_image is not None:
            shape = (3, self.image_size, self.image_size)
            image = np.ascontiguousarray(self.mean_image, dtype=np.float32)
            if image.shape != shape or not np.isfinite(image).all():
                raise DataError(f"preprocessing: mean_image must be finite numbers of shape {shape}.")
            object.__setattr__(self, "mean_image", image)

    @classmethod
    def evaluation(cls, image_size: int, **others: Any) -> Self:
        """The usual choice for an image size.

        image_size  side of the network's input in pixels. Up to 64 the whole shorter side of a picture is kept, as for
                    CIFAR; above, the centre of 7/8 of it, as in "resize to 256, crop 224" for ImageNet
        others      fields that shall differ
        """
        _check_int("image_size", image_size, 1, MAX_SIZE)
        resize_to = image_size if image_size <= 64 else round(image_size * 256 / 224)
        return cls(**{"image_size": image_size, "resize_to": resize_to, **others})

    def fitted(self, fit: str) -> Self:
        """The same with the square made in another way.

        fit     of `FITS`: crop (the middle of the picture), pad (all of it, with a margin) or squash (all, stretched)
        """
        usual = self.evaluation(self.image_size).resize_to
        return replace(self, resize=FITS[fit], resize_to=usual if fit == "crop" else self.image_size)

    @property
    def fill(self) -> tuple[int, int, int]:
        """(R, G, B) of what lies outside a picture whose longer side is resized: `mean`, whatever a mean image says."""
        red, green, blue = (round(255 * mean) for mean in self.mean[:: 1 if self.channels == "RGB" else -1])
        return red, green, blue

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Preprocessing):
            return NotImplemented
        mine, theirs = self.mean_image, other.mean_image
        same_image = mine is theirs if mine is None or theirs is None else np.array_equal(mine, theirs)
        return same_image and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.geometry(), self.channels, self.mean, self.std))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels of `mean_image` (its presence is told), ready for JSON.

        "full_scale" is there where it is not None, and "fill" where it is seen: a file without them is read by older
        versions, too.
        """
        more: dict[str, Any] = {} if self.full_scale is None else {"full_scale": self.full_scale}
        if self.resize == "longer":
            more["fill"] = list(self.fill)
        return {
            "decode": decode.VERSION,
            "image_size": self.image_size,
            "resize": self.resize,
            "resize_to": self.resize_to,
            "interpolation": self.interpolation,
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "mean_image": self.mean_image is not None,
            **more,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], mean_image: np.ndarray | None = None) -> Self:
        """The inverse of `to_dict`. Nothing is taken on trust.

        document    what `to_dict` gave
        mean_image  its pixels, which are no part of the document

        Raises ModelFileError where a key is missing or unknown, or a value cannot be.
        """
        if not isinstance(document, Mapping):
            raise ModelFileError("The file's preprocessing is not a table of values; get the file again.")
        values = {"full_scale": None, **document}
        fill = values.pop("fill", None)
        wanted = {field.name for field in fields(cls)} | {"decode"}
        if odd := sorted(map(str, wanted ^ values.keys())):
            raise ModelFileError(f"The file's preprocessing has missing or unknown keys: {', '.join(odd)}.")
        version = values.pop("decode")
        if type(version) is not int or not 1 <= version <= decode.VERSION:
            raise ModelFileError(
                f"The file decodes images by rule {version!r}, this version of resnets knows rules up to "
                f"{decode.VERSION}; update resnets."
            )
        if values["mean_image"] is not (mean_image is not None):
            raise ModelFileError("The file's preprocessing and its mean image do not belong together.")
        values["mean_image"] = mean_image
        try:
            made = cls(**values)
        except DataError as error:
            raise ModelFileError(f"The file cannot be used: {error}") from error
        if made.to_dict().get("fill") != fill:
            raise ModelFileError("The file pads pictures with another colour than its mean: update resnets.")
        return made

    def geometry(self) -> str:
        """What decides the pixels, as opposed to their normalisation: equal text, equal `pixels`."""
        white = "" if self.full_scale is None else f", white {self.full_scale!r}"
        made = f"{self.resize} {self.resize_to} {self.interpolation}, centre {self.image_size}"
        around = f", around it {self.fill}" if self.resize == "longer" else ""
        return f"decode {decode.VERSION}, {made}{around}{white}"

    def read(self, data: bytes) -> np.ndarray:
        """A picture's file as the network sees it before normalisation, decoded as the model file says, then `pixels`.

        data    the bytes of the file; returns (image_size, image_size, 3) uint8. Raises ImageError for no usable image
        """
        with decode.opened(data) as picture:  # of a heavy picture the turn ends when it is small
            return self.pixels(picture.rgb(self.full_scale))

    def turned(self) -> Preprocessing:
        """The same for a network whose channels stand in the other order: what belongs to each goes with it."""
        other: Literal["RGB", "BGR"] = "RGB" if self.channels == "BGR" else "BGR"
        image = None if self.mean_image is None else self.mean_image[::-1]
        return replace(self, channels=other, mean=self.mean[::-1], std=self.std[::-1], mean_image=image)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """A picture resized and cropped: (image_size, image_size, 3) uint8, RGB whatever `channels` says.

        image   a Pillow picture of any mode and size

        One Pillow resampling (antialiased where it shrinks) of just the part that is kept, in source
        coordinates. Resizing first and cropping then, as torchvision does, gives the same pixels wherever
        it need not round the longer side or the margins, else the same picture less than a pixel aside.
        Where nothing is to be resized the pixels are copied unchanged, with the larger half of an odd
        margin at the right and the bottom.
        """
        if image.mode != "RGB" or image.info:  # ours has neither a turn nor a colour that is clear
            image = decode.as_rgb(image, self.full_scale)
        width, height = image.size
        if self.resize == "longer":
            return self._padded(image)
        sides = image.size if self.resize == "stretch" else (min(image.size),) * 2
        if sides == (self.resize_to, self.resize_to):
            left, top = (width - self.image_size) // 2, (height - self.image_size) // 2
            return np.array(image.crop((left, top, left + self.image_size, top + self.image_size)))
        across, down = (side * self.image_size / self.resize_to for side in sides)
        box = ((width - across) / 2, (height - down) / 2, across, down)
        return np.array(_resampled(image, box, (self.image_size,) * 2, self.interpolation))

    def _padded(self, image: Image.Image) -> np.ndarray:
        longer, size = max(image.size), self.image_size
        inner = across, down = [max((2 * side * size + longer) // (2 * longer), 1) for side in image.size]
        left, top = (size - across) // 2, (size - down) // 2
        square = np.full((size, size, 3), self.fill, np.uint8)
        whole = _resampled(image, (0, 0, *image.size), (inner[0], inner[1]), self.interpolation)
        square[top : top + down, left : left + across] = np.asarray(whole)
        return square

    def normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """(x / 255 - mean) / std, on the device of `batch`.

        batch   (N, image_size, image_size, 3) uint8, RGB

        Returns (N, 3, image_size, image_size) float32 in channels_last memory, channels in the network's order.
        """
        import torch

        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
            raise TypeError(f"expected (N, H, W, 3) uint8, got {tuple(batch.shape)} {batch.dtype}")
        if self.channels == "BGR":
            batch = batch.flip(-1)
        # One new tensor, and two passes in place over it: (x - 255 mean) * 1 / (255 std).
        x = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        mean = np.array(self.mean).reshape(3, 1, 1) if self.mean_image is None else self.mean_image
        scale = 1 / (255 * np.array(self.std).reshape(3, 1, 1))
        x.sub_(torch.as_tensor(255 * mean, dtype=torch.float32, device=x.device))
        return x.mul_(torch.as_tensor(scale, dtype=torch.float32, device=x.device))


def _resampled(
    image: Image.Image, box: tuple[float, float, float, float], sides: tuple[int, int], interpolation: str
) -> Image.Image:
    """The part (x, y, across, down) of a picture at so many pixels across and down.

    Columns are resampled first, and rounded. For tall pictures Pillow's order depends on its version and their size,
    which moves pixels by up to 6 of 255: there each of the two passes is a call of its own. What lies between them is
    bounded: a picture that is tall beyond all measure is resampled rows first.
    """
    (x, y, across, down), (columns, rows), (width, height) = box, sides, image.size
    resample = _FILTERS[interpolation]
    reach = math.ceil(_SUPPORT[interpolation] * max(down / rows, 1)) + 1
    top, bottom = max(math.floor(y) - reach, 0), min(math.ceil(y + down) + reach, height)
    if height > width and (bottom - top) * columns <= MAX_BETWEEN:
        # Rows that are as many and lie as before cost nothing, and no copy of the picture is made.
        image = image.resize((columns, bottom - top), resample, box=(x, top, x + across, bottom))
        x, y, across = 0, y - top, columns
    elif height > width:
        image = image.resize((width, rows), resample, box=(0, y, width, y + down))
        y, down = 0, rows
    return image.resize(sides, resample, box=(x, y, x + across, y + down))


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise DataError(f"preprocessing: {name} must be a whole number from {low} to {high}, not {value!r}.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise DataError(f"preprocessing: {name} must be {' or '.join(choices)}, not {value!r}.")


def _full_scale(value: object) -> float:
    if not isinstance(value, int | float) or type(value) is bool or not 0 < value <= 2.0**64:
        raise DataError(f"preprocessing: full_scale must be a number above 0, not {value!r}.")
    return float(value)


def _triple(name: str, value: Any, low: float, high: float) -> Triple:
    numbers = tuple(value) if isinstance(value, (list, tuple)) else ()
    good = [isinstance(n, (int, float)) and type(n) is not bool and low <= n <= high for n in numbers]
    if len(good) != 3 or not all(good):
        raise DataError(f"preprocessing: {name} must be three numbers from {low:g} to {high:g}, not {value!r}.")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
