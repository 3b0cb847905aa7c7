"""What somebody says of how data is to be read, where its files and folders do not say it themselves."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from resnets.data.labels import LayoutError
from resnets.errors import ParameterError
from resnets.text import brief, some

DEEPEST = 16  # levels of folders, at most


class _Pattern:
    """One of `Reading.ignore`: of a whole path if it has a "/" in it, else of a file's or a folder's name."""

    def __init__(self, words: str) -> None:
        self.words, self._whole = words, "/" in words[:-1]
        self._found = re.compile(fnmatch.translate(words.removesuffix("/")), re.IGNORECASE).fullmatch

    def matches(self, key: str) -> bool:
        """Whether it is of a path."""
        return bool(self._found(key)) or (not self._whole and any(map(self._found, key.split("/"))))


@dataclass(frozen=True)
class Reading:
    """Keys of a recipe; a model's provenance keeps them, so that it is judged on data that is read in the same way.

    depth       of the class folders: 1: photos/cat; 2: photos/animals/cat, and so on
    ignore      patterns of paths that are left out, with commas between: "*.gif, */thumbs/*", in capitals or not. One
                without "/" is of a file's or a folder's name
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
        return ", ".join(f"{key}={brief(value)}" for key, value in self._unusual.items())

    @property
    def overrides(self) -> list[str]:
        """The same, whole, as `asked` takes it."""
        return [f"{key}={value}" for key, value in self._unusual.items()]

    @property
    def _unusual(self) -> dict[str, Any]:
        found = {"depth": self.depth, "ignore": self.ignore, "columns": self.columns}
        return {key: value for key, value in found.items() if value not in (1, "")}

    def ignores(self, key: str) -> bool:
        """Whether a path is left out."""
        return any(pattern.matches(key) for pattern in self._patterns)

    def sifted(self, shown: str, keys: Collection[str]) -> tuple[Collection[str], list[str]]:
        """(the paths that count, what to say of the others). Raises LayoutError where nothing is left."""
        if not self._patterns:
            return keys, []
        kept = [key for key in keys if not self.ignores(key)]
        if keys and not kept:
            raise LayoutError(f"{shown}: all {len(keys):,} files match ignore={brief(self.ignore)}.")
        remarks, ignored = [], len(keys) - len(kept)
        if ignored:
            files = "file matches" if ignored == 1 else "files match"
            remarks.append(f"{ignored:,} {files} ignore={brief(self.ignore)}: left out.")
        idle = [one.words for one in self._patterns if not any(map(one.matches, keys))]
        if idle:
            match = "matches" if len(idle) == 1 else "match"
            remarks.append(f"{some(idle)} in ignore={brief(self.ignore)} {match} no file.")
        return kept, remarks

    @cached_property
    def _patterns(self) -> tuple[_Pattern, ...]:
        return tuple(_Pattern(one.strip()) for one in self.ignore.split(",") if one.strip())


USUAL = Reading()
