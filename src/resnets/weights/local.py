"""The user's own registry, `registry.toml` in RESNETS_HOME: tags `local:NAME` for files that lie or are served here.

Its fields are those of the registry that we ship. It is read anew each time, and every value is looked at: what is
wrong is said in one sentence.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnets.architecture.catalog import names
from resnets.data.fetch import fetch, verified
from resnets.data.preprocess import Preprocessing
from resnets.errors import DataError, FetchError, ModelFileError
from resnets.machine import home
from resnets.regular import bounded, open_regular
from resnets.text import printable
from resnets.weights.entry import PICTURE, Entry, picture_of

SOURCE = "local"
NAME = "registry.toml"
LARGEST = 2**17  # bytes of it
EXAMPLE = "docs/guides/pretrained.md shows one"

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}")  # of a tag behind `local:`, and of a file
_SUM = re.compile(r"[0-9a-f]{8,64}")
_TEXTS = ("tag", "network", "dialect", "address", "sha256", "md5", "licence", "figures", "source")
_NUMBERS = ("top1", "top5", "levels")
_FIELDS = (*_TEXTS, *_NUMBERS, *PICTURE, "mean", "std", "files", "auto")


def registry() -> Path:
    """Where it is, whether it is there or not."""
    return home() / NAME


def entries() -> dict[str, Entry]:
    """Its entries by their full tags; none without such a file. Raises ModelFileError for a mistake in it."""
    path = registry()
    if not path.exists():
        return {}
    found: dict[str, Entry] = {}
    for row in _rows(path):
        try:
            entry = _entry(row)
            if entry.tag in found:
                raise ValueError(f"{entry.tag} stands there twice")
            rivals = [one.tag for one in found.values() if entry.auto and one.auto == entry.auto]
            if rivals:
                raise ValueError(f"{rivals[0]} and {entry.tag} have the same auto, and one can be taken")
        except (ValueError, DataError) as problem:
            raise _wrong(path, str(problem).rstrip(".")) from problem
        found[entry.tag] = entry
    return found


def files_of(entry: Entry, cache: Path, brief: bool) -> Path:
    """The file of an entry, with those that belong to it beside it: where they lie, or fetched into the cache.

    Raises FetchError when one is not there, or is another than the entry says. brief: as for `fetch`.
    """
    listed = [(entry.address, entry.sha256, entry.md5), *((address, sha256, "") for address, sha256 in entry.beside)]
    places = []
    for address, sha256, md5 in listed:
        if _is_remote(address):
            place = cache / SOURCE / entry.tag.partition(":")[2] / _name_of(address)
            fetch(address, place, sha256=sha256, md5=md5, brief=brief)
        else:
            place = _here(address)
            if not os.path.isfile(place):
                raise FetchError(f"{registry()} says that {entry.tag} has {place}, and no such file is there.")
            if not verified(place, {"sha256": sha256, "md5": md5}):
                raise FetchError(f"{place} is not the file of {entry.tag} that {registry()} describes: replace either.")
        places.append(place)
    return places[0]


def _rows(path: Path) -> list[Any]:
    try:
        with open_regular(path) as file:
            data = bounded(file, LARGEST)
        if len(data) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        document = tomllib.loads(data.decode())
    except OSError as problem:
        raise _wrong(path, f"it cannot be read ({problem.strerror})") from problem
    except (ValueError, RecursionError) as problem:
        raise _wrong(path, f"it is no TOML ({problem})") from problem
    rows = document.pop("weights", [])
    if document:
        raise _wrong(path, f"it has {next(iter(document))!r}, and its entries are [[weights]]")
    if not isinstance(rows, list):
        raise _wrong(path, "its entries are [[weights]], with two brackets")
    return rows


def _entry(row: Any) -> Entry:
    """Raises ValueError or DataError for what it cannot be."""
    if not isinstance(row, dict):
        raise ValueError("an entry is a table")
    tag = row.get("tag")
    if not isinstance(tag, str) or not _NAME.fullmatch(tag):
        raise ValueError(f"an entry has the tag {str(tag)[:40]!r}, and a tag is a word of letters, digits and ._+-")
    if odd := [key for key in row if key not in _FIELDS]:
        raise ValueError(f"{tag} has {odd[0][:40]!r}, which no entry has")
    for key in _TEXTS:
        if key in row and not isinstance(row[key], str):
            raise ValueError(f"{key} of {tag} is a text")
    for key in _NUMBERS:
        if key in row and (isinstance(row[key], bool) or not isinstance(row[key], int | float) or not row[key] > 0):
            raise ValueError(f"{key} of {tag} is a number above 0")
    network, auto = row.get("network", ""), row.get("auto", False)
    for key, value in (("network", network), ("auto", auto)):
        if isinstance(value, str) and value not in ("", *names()) and (key, value) != ("network", "custom"):
            raise ValueError(f"{key} of {tag} is {value[:40]!r}, and `resnets list` shows the networks that there are")
    if not isinstance(auto, bool | str):
        raise ValueError(f"auto of {tag} is true, false or the name of a network")
    files = _files(tag, row)
    return Entry(
        tag=f"{SOURCE}:{tag}",
        network=network,
        dialect=row.get("dialect", ""),
        address=files[0][0],
        sha256=files[0][1],
        md5=row.get("md5", "").lower(),
        licence=row.get("licence", ""),
        figures=row.get("figures", ""),
        source=row.get("source", ""),
        beside=tuple(files[1:]),
        auto=auto,
        **{key: round(row[key] / 100, 5) for key in ("top1", "top5") if key in row},
        picture=_picture(tag, row),
    )


def _files(tag: str, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(address, sha256) of the file that counts, and of those beside it."""
    beside = row.get("files", [])
    if not isinstance(beside, list):
        raise ValueError(f'files of {tag} are a list of {{ address = "...", sha256 = "..." }}')
    found = []
    for one in (row, *beside):
        address, digits = (one.get("address"), one.get("sha256", "")) if isinstance(one, dict) else (None, "")
        if not isinstance(address, str) or not address:
            raise ValueError(f"a file of {tag} has no address: an address of http or https, or a path")
        if not isinstance(digits, str) or (digits and not _SUM.fullmatch(digits.lower())):
            raise ValueError(f"sha256 of {tag} has 64 hexadecimal digits, or the first eight or more of them")
        if _is_remote(address) and not (digits or (one is row and row.get("md5"))):
            raise ValueError(f"{tag} needs the sha256 of {address}, as what arrives is compared with it")
        if not _NAME.fullmatch(_name_of(address)):
            raise ValueError(f"the address {address[:80]!r} of {tag} does not end in the name of a file")
        found.append((address, digits.lower()))
    names_of_files = [_name_of(address) for address, _ in found]
    homes = {"" if _is_remote(address) else str(_here(address).parent) for address, _ in found}
    if len(set(names_of_files)) < len(found) or len(homes) > 1:
        raise ValueError(
            f"the files of {tag} are to lie side by side: give them other names, or put them into a folder"
        )
    return found


def _picture(tag: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """What stands there, once it makes a preprocessing with what is usual for the rest."""
    from resnets.data.preprocess import Preprocessing

    for key in ("mean", "std"):
        value = row.get(key, [0.0] * 3)
        if not isinstance(value, list) or len(value) != 3 or not all(type(one) in (int, float) for one in value):
            raise ValueError(f"{key} of {tag} is a list of three numbers")
    picture = picture_of(row)
    Preprocessing(**{"image_size": 1, "resize_to": picture.get("image_size", 1), **picture})
    return picture


def prepared(own: Preprocessing, entry: Entry) -> Preprocessing:
    """A file's way to prepare pictures with what its entry says of it; the rest goes with that.

    Raises ModelFileError for what cannot be together.
    """
    said = dict(entry.picture)
    if said.get("channels", own.channels) != own.channels:
        own = own.turned()
    if "mean" in said:
        said["mean_image"] = None
    if "image_size" in said and "resize_to" not in said:
        said["resize_to"] = max(said["image_size"], round(own.resize_to * said["image_size"] / own.image_size))
    try:
        return replace(own, **said)
    except DataError as problem:
        raise _wrong(registry(), f"{entry.tag}: {problem}") from problem


def _is_remote(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _name_of(address: str) -> str:
    return re.split(r"[/\\]", address)[-1] if not _is_remote(address) else address.partition("?")[0].rpartition("/")[2]


def _here(address: str) -> Path:
    """A path, from the folder of the registry where it is not a whole one."""
    return registry().parent / Path(os.path.expanduser(address))


def _wrong(path: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{path} cannot be used: {printable(why)}; {EXAMPLE}.")
