"""What a registry knows of named weights: one entry for each tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnets.data.preprocess import Preprocessing

PICTURE = ("image_size", "resize", "resize_to", "interpolation", "channels")  # beside mean and std


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of one tag.

    tag         in full: "torchvision:resnet50:IMAGENET1K_V2"
    network     the member of our catalog; details that its source does otherwise, the dialect knows
    dialect     the name of the dialect that reads it
    address     of the file, or of the repository of Hugging Face ("timm/resnet50.a1_in1k")
    member      the file that counts in it, if it is an archive
    sha256      all 64 digits, or the first 8 if its owner publishes no more, or ""
    md5         where its owner publishes nothing better
    licence     as SPDX names it; for the weights, not for what they were trained on; "" where nobody says it
    top1, top5  accuracies that were published, as fractions; None if there are none
    figures     the page that has them
    source      a page that says what they are; "" where the address says it
    beside      (address, sha256) of further files that belong to it
    auto        the network for which it is what `auto` gives, True for where none is asked for
    picture     how pictures are prepared: the fields of `Preprocessing` that differ from its defaults
    """

    tag: str
    network: str
    dialect: str
    address: str
    licence: str
    figures: str
    member: str = ""
    sha256: str = ""
    md5: str = ""
    top1: float | None = None
    top5: float | None = None
    source: str = ""
    beside: tuple[tuple[str, str], ...] = ()
    auto: bool | str = False
    picture: Mapping[str, Any] = field(repr=False)

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the published accuracies were measured with."""
        from resnets.data.preprocess import Preprocessing

        return Preprocessing(**self.picture)


def picture_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The picture of an entry from its fields, whose mean and std are for pictures of 0..`levels`."""
    levels = fields.get("levels", 1)
    scaled = {key: tuple(value / levels for value in fields[key]) for key in ("mean", "std") if key in fields}
    return {key: fields[key] for key in PICTURE if key in fields} | scaled
