"""How classes and splits are read from the names of folders.

Layouts: ``train/`` with ``val/`` or ``test/``, each with one folder per class; or class folders alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from resnets.data.sample import Sample
from resnets.errors import DataError
from resnets.text import printable

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def arrange(name: str, sizes: Mapping[str, int]) -> tuple[Sample, ...]:
    """Find the layout in the keys of ``sizes`` and give each file its class and split."""
    shown = printable(name)
    if not sizes:
        raise DataError(f"{shown} holds no files: put photos into one folder per class, as in photos/cat/1.jpg.")
    folders = {folder: folder.split("/") for folder in {_folder(key) for key in sizes} if folder}
    depth = 0
    while True:
        top = {parts[depth] for parts in folders.values() if len(parts) > depth}
        if len(top) != 1 or not any(len(parts) > depth + 1 for parts in folders.values()):
            break
        depth += 1  # one folder around everything else
    roles = {folder: SPLITS[folder.lower()] for folder in top if folder.lower() in SPLITS}
    # "train" beside other folders without a "val" or "test" is a class: somebody sorts vehicles.
    if "train" in roles.values() and len(set(roles.values())) > 1:
        _check_roles(shown, roles)
        places = {
            folder: (parts[depth + 1], roles[parts[depth]])
            for folder, parts in folders.items()
            if len(parts) > depth + 1 and parts[depth] in roles
        }
        found = {split for _, split in places.values()}
        if places and "train" not in found:
            raise DataError(f"{shown} has no class folders in train/: photos must lie in train/cat/1.jpg.")
        if found == {"train"}:  # the other split has no class folders, so no labels
            places = {folder: (label, "") for folder, (label, _) in places.items()}
    else:
        places = {folder: (parts[depth], "") for folder, parts in folders.items() if len(parts) > depth}
    samples = tuple(
        Sample(key, *places[folder], sizes[key]) for key in sorted(sizes) if (folder := _folder(key)) in places
    )
    if not samples:
        raise DataError(f"{shown} has no class folders: photos must lie in one folder per class: photos/cat/1.jpg.")
    return samples


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _check_roles(shown: str, roles: Mapping[str, str]) -> None:
    for role in sorted(set(roles.values())):
        same = sorted(folder for folder, its_role in roles.items() if its_role == role)
        if len(same) > 1:
            raise DataError(f"{shown} has both {same[0]}/ and {same[1]}/ for one split: merge or rename them.")
