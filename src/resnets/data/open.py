"""`open_source`: whatever the user names as data -> a source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from resnets.data.archives import open_archive
from resnets.data.folder import Folder, Listed
from resnets.data.labels import LayoutError, class_names
from resnets.data.named import NAMES, open_named
from resnets.data.pack import INDEX
from resnets.data.packed import Packed, holds_pictures, shards
from resnets.data.reading import USUAL, Reading
from resnets.data.remote import fetched, is_address, plain
from resnets.data.rows import is_table, is_workbook, open_table
from resnets.data.sharded import Sharded, is_packed
from resnets.data.source import Source
from resnets.data.webdataset import is_shard, is_sharded
from resnets.errors import DataError, nearest
from resnets.progress import say
from resnets.regular import irregular, open_regular
from resnets.text import PATH, brief, printable


def open_source(data: str | Path, *, quiet: bool = False, reading: Reading = USUAL) -> Source:
    """Open a folder, a .zip, a plain .tar, a table with labels, or the name of a data set.

    The names are ``digits``, ``cifar10``, ``cifar100``, ``fashion-mnist`` and ``imagenette``; a folder
    that bears one of them is reached as ``./digits``. A single folder around the layout is looked
    through (``imagenette2/train/...``), and sub-folders of a class folder belong to that class. Two
    entries of an archive under one name are an error, so that no file silently replaces another. A
    compressed .tar is unpacked once, and an address (https://...) fetched once, into the cache. A table
    (.csv, .tsv, .jsonl, .parquet) names a picture and its class in each row, or holds the picture
    (.parquet, or a folder of such files); see `resnets.data.labelled`. Shards (`resnets.data.sharded`) are a folder of
    .tar files, one of them, or the address of the folder that their index lies in, with a slash at its end.

    quiet   leave it to the caller to say `remarks`: what was left out, and why
    reading what the user says of how the data is to be read

    Raises DataError, which says what to do, where there is no such data or it cannot be used; FetchError where a named
    set could not be downloaded.
    """
    name = os.fspath(data)
    if data in NAMES:
        if reading != USUAL and not quiet:
            say(f"{name} is read as it is: {reading.words} is for folders, archives and tables.")
        return open_named(name)
    source = _remote(name, reading) if is_address(name) else _opened(name, os.path.expanduser(name), reading)
    for remark in source.remarks if not quiet else ():
        say(remark)
    if source.tabled and reading.depth > 1 and not quiet:
        say(f"The labels of {printable(name)} are in a table, where depth={reading.depth} does nothing.")
    return source


def _remote(name: str, reading: Reading) -> Source:
    """What an address gave, which is fetched anew the next time where it is no good; shards by their index."""
    if name.endswith(("/", f"/{INDEX}")):
        return Sharded(name, plain(name.removesuffix(INDEX)), reading=reading)
    path = fetched(name)
    try:
        return _opened(name, str(path), reading)
    except LayoutError:  # it is whole, and what is wrong is how it lies, or what was asked of it
        raise
    except DataError as problem:
        path.unlink(missing_ok=True)
        raise DataError(f"{str(problem).rstrip('.')}; it was fetched, and will be again the next time.") from problem


def _opened(name: str, path: str, reading: Reading) -> Source:
    shown = printable(name)
    try:
        if os.path.isdir(path):
            return _folder(name, path, reading)
        if os.path.exists(path) and (why := irregular(os.stat(path).st_mode)):
            raise DataError(f"{shown} cannot be data: {why}; name a folder or an archive.")
        if not os.path.isfile(path):
            raise DataError(
                f"There is no folder, archive, table or data set {brief(name, PATH)}.{nearest(name, NAMES)}"
            )
        if is_workbook(path):
            open_table(shown, path, lambda: open_regular(path))
        if path.lower().endswith(".parquet") and holds_pictures(path, reading):
            return Packed(name, path, [""], reading)
        return Listed(name, path, reading) if is_table(path) else _archive(name, path, reading)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}; check its permissions.") from error


def _archive(name: str, path: str, reading: Reading) -> Source:
    """An archive of class folders, or one shard."""
    try:
        found = open_archive(name, path, reading)
    except LayoutError:
        if not (path.lower().endswith(".tar") and is_shard(path)):
            raise
    else:
        few = len(class_names(found.samples)) < 2
        if not (few and path.lower().endswith(".tar") and is_shard(path)):
            return found
    return Sharded(name, os.path.dirname(os.path.abspath(path)), [os.path.basename(path)], reading)


def _folder(name: str, path: str, reading: Reading) -> Source:
    """A folder of class folders, of shards, or of parquet files of pictures, beside which others may lie: logos."""
    if is_packed(path):
        return Sharded(name, path, reading=reading)
    try:
        found = Folder(name, path, reading)
    except DataError:
        if is_sharded(path):
            return Sharded(name, path, reading=reading)
        if not (files := shards(path, reading)):
            raise
        return Packed(name, path, files, reading)
    few = len(class_names(found.samples)) < 2
    return Packed(name, path, files, reading) if few and (files := shards(path, reading)) else found


def open_as_trained(data: str | Path, recipe: Mapping[str, Any] | None) -> Source:
    """Open data as that of a model was read, by its recipe, or in the usual way where that does not fit, which is said.

    Raises what `open_source` raises.
    """
    reading = Reading.of(recipe)
    try:
        return open_source(data, reading=reading)
    except DataError:
        if reading == USUAL:
            raise
        found = None
        with suppress(DataError):
            found = open_source(data)
        if found is None:
            raise
        say(f"{printable(os.fspath(data))} is read in the usual way: it does not fit {reading.words}.")
        return found
