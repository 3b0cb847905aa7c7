"""A folder of class folders, read in place."""

from __future__ import annotations

import os

from resnets.data.labels import LayoutError
from resnets.data.source import Source, read_image
from resnets.data.walk import Found, walk
from resnets.text import printable, some


class Folder(Source):
    """A folder, walked as `resnets.data.walk` says. Raises LayoutError for one that cannot be walked."""

    def __init__(self, name: str, root: str) -> None:
        files: dict[str, Found] = {}
        others: dict[str, list[str]] = {"odd": [], "empty": []}
        ours: dict[str, list[str]] = {}  # by what they are
        for one in walk(root):
            if one.kind == "barred" or (one.kind == "ours" and not one.key):
                raise LayoutError(f"{printable(os.path.join(root, one.key))} {one.why}.")
            if one.kind == "ours":
                ours.setdefault(one.why, []).append(one.key)
            else:
                others.get(one.kind, []).append(one.key)
                if one.kind != "empty":  # what is odd is named where it would be read
                    files[one.key] = one
        remarks = [f"{some(keys)} {why}: left out." for why, keys in ours.items()]
        sizes = {key: one.size for key, one in files.items()}
        super().__init__(name, sizes, lambda key: files[key].changed, root, **others, remarks=remarks)

    def holder(self, key: str) -> str:
        """The path of a file."""
        return os.path.join(self.place or "", key)

    def read(self, key: str) -> bytes:
        """As ``Source.read``."""
        return read_image(self.holder(key))
