"""What somebody says of how data is to be read, where its files and folders do not say it themselves."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from resnets.data.labels import LayoutError
from resnets.errors import ParameterError
from resnets.text import brief

DEEPEST = 16  # levels of folders, at most


@dataclass(frozen=True)
class Reading:
    """Keys of a recipe; a model's provenance keeps them, so that it is judged on data that is read in the same way.

    depth       of the class folders: 1: photos/cat; 2: photos/animals/cat, and so on
    ignore      patterns of paths that are left out, with commas between: "*.gif, thumbs/*". One without "/" is of a
                file's or a folder's name
    columns     of a table: "image=photo label=species split=part", see `resnets.data.columns`
    """

    depth: int = 1
    ignore: str = ""
    columns: str = ""

    @classmethod
    def of(cls, recipe: Mapping[str, Any] | None) -> Self:
        """Those keys of a recipe's table; what is not there, or makes no sense, is as usual."""
        table = recipe or {}
        depth, ignore, columns = table.get("depth"), table.get("ignore"), table.get("columns")
        return cls(
            depth if isinstance(depth, int) and 0 < depth <= DEEPEST else 1,
            ignore if isinstance(ignore, str) else "",
            columns if isinstance(columns, str) else "",
        )

    @classmethod
    def asked(cls, overrides: Iterable[str]) -> Self:
        """Of "key=value" texts, as a recipe's are overridden. Raises ParameterError."""
        found: dict[str, Any] = {}
        for override in overrides:
            key, equals, text = (part.strip() for part in override.partition("="))
            if not equals or key not in ("depth", "ignore", "columns"):
                raise ParameterError(
                    f"`overrides` takes depth=N, ignore=PATTERNS or columns=... here, not {brief(override)}."
                )
            if key == "depth" and text not in map(str, range(1, DEEPEST + 1)):
                raise ParameterError(f"depth is a whole number from 1 to {DEEPEST}, not {brief(text)}.")
            found[key] = int(text) if key == "depth" else text
        return cls(**found)

    @property
    def words(self) -> str:
        """What differs from the usual, as it is typed."""
        found = {"depth": self.depth, "ignore": self.ignore, "columns": self.columns}
        return ", ".join(f"{key}={brief(value)}" for key, value in found.items() if value not in (1, ""))

    def ignores(self, key: str) -> bool:
        """Whether a path is left out."""
        return bool(self._patterns) and any(
            pattern.fullmatch(key) or any(whole and pattern.fullmatch(part) for part in key.split("/"))
            for pattern, whole in self._patterns
        )

    def check(self, shown: str, kept: int, ignored: int) -> None:
        """Raise LayoutError where nothing is left."""
        if ignored and not kept:
            raise LayoutError(f"{shown}: all {ignored:,} files match ignore={brief(self.ignore)}.")

    @cached_property
    def _patterns(self) -> tuple[tuple[re.Pattern[str], bool], ...]:
        """Each pattern, and whether it is of a name instead of a path."""
        found = [one.strip() for one in self.ignore.split(",") if one.strip()]
        return tuple((re.compile(fnmatch.translate(one.removesuffix("/"))), "/" not in one[:-1]) for one in found)


USUAL = Reading()
