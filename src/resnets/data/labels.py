"""Class names: one map from name to index, by sorted name, shared by every split of a data set.

A class that only one split knows would be learned and never measured, or measured and never learned,
so it is refused here, before anything is trained.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from resnets.errors import DataError
from resnets.text import printable

if TYPE_CHECKING:
    from resnets.data.sample import Sample


class LayoutError(DataError):
    """A data set that is there, and lies in a way that cannot be used: the mend is to move or rename files."""


def class_name(folder: str) -> str:
    """What the class of a folder is called: with composed accents (NFC) and no space at its ends.

    Systems differ in how they write the same name. It must stand in JSON, so bytes that are no UTF-8 become ``\\x..``.
    """
    try:
        text = folder.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file system gives, but a model file may hold
        text = folder.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", text).strip() or text


def is_utf8(name: str) -> bool:
    """Whether a name, as the system gives it, can be written in UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def class_names(samples: Iterable[Sample]) -> tuple[str, ...]:
    """The distinct labels of ``samples`` in sorted order; the position of a name is its class index."""
    return tuple(sorted({sample.label for sample in samples}))


def apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names of which those that stand more than once ("crane", twice in ImageNet) get their numbers."""
    often = Counter(names)
    return tuple(name if often[name] == 1 else f"{name} ({i})" for i, name in enumerate(names))


def check_count(names: Collection[str], where: str) -> None:
    """Raise ``LayoutError`` unless there are two classes to tell apart in ``where``."""
    if len(names) < 2:
        only = f'has only one class, "{printable(next(iter(names)))}"' if names else "has no classes"
        raise LayoutError(
            f"{printable(where)} {only}: put the photos of each class into a folder of its own, "
            "two classes or more, as in photos/cat/1.jpg and photos/dog/1.jpg."
        )


def check_classes(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Check that every split of ``splits`` (name to samples) has the same two or more classes.

    Raises DataError: there are fewer than two classes, or a class is missing in a split; the message names up to three
    such classes, the split, and the mend.
    """
    found = {name: set(class_names(samples)) for name, samples in splits.items()}
    everything = set().union(*found.values())
    check_count(everything, "The data set")
    for split, names in found.items():
        missing = sorted(everything - names)
        if missing:
            shown = ", ".join(f'"{printable(name)}"' for name in missing[:3])
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            others = " and ".join(f"{name}/" for name in found if missing[0] in found[name])
            folder = f"{split}/{printable(missing[0])}/"
            raise DataError(
                f"{'Class' if len(missing) == 1 else 'Classes'} {shown}{more} of {others} "
                f"{'is' if len(missing) == 1 else 'are'} missing in {split}/: add photos to {folder}, "
                "or remove the class from every split."
            )
