"""Which files a data set holds outside its class folders, where no reader of images would ever come by."""

from __future__ import annotations

import os
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

from resnets.data.archives import DAMAGED, zip_name
from resnets.data.source import Source, hidden
from resnets.diagnosis.diagnosis import Finding, count, some

CHANGES = "doctor-changes.csv"  # the list that a cleaned copy comes with


def everything(data: str | Path) -> list[str]:
    """All files in a folder or an archive by their paths inside, "/" between the parts; hidden ones are left out.

    Empty for what cannot be listed, and for sets that have a name only.
    """
    path = os.path.expanduser(os.fspath(data))
    names: list[str] = []
    with suppress(OSError, *DAMAGED):
        if os.path.isdir(path):
            names = [
                os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")
                for folder, _, files in os.walk(path)
                for name in files
            ]
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [zip_name(info) for info in archive.infolist() if not info.is_dir()]
        elif os.path.isfile(path):
            with tarfile.open(path, "r:") as archive:
                names = [info.name for info in archive if info.isreg()]
    parts = ([part for part in name.split("/") if part not in ("", ".")] for name in names)
    return sorted("/".join(own) for own in parts if own and not any(map(hidden, own)))


def misplaced(data: str | Path, source: Source) -> list[Finding]:
    """Files that lie in no class folder."""
    if source.name != os.fspath(data) or not (files := everything(data)):
        return []
    keys = {sample.key for sample in source.samples}
    beside = [name for name in files if name not in keys and name != CHANGES]
    if not beside:
        return []
    return [
        Finding(
            kind="misplaced",
            severity="warning",
            text=f"{count(len(beside), 'file')} {'lies' if len(beside) == 1 else 'lie'} in no class folder and will "
            f"not be used: {some(beside)}.",
            mend="Move photos into the folder of their class; anything else (lists, notes) may stay. A cleaned copy "
            "leaves all of them out.",
            fixed=True,
            paths=tuple(beside),
        )
    ]
