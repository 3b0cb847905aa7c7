"""Named pretrained weights: a tag -> where the file is, what it should be, how it wants its pictures -> the file.

The entries are data, in `registry.toml`; the user's own are in another (`local.py`). Any other repository of Hugging
Face works without an entry, as `hf:owner/name` or `timm:name.tag`, each with `@revision` if need be.
"""

from __future__ import annotations

import fnmatch
import functools
import gzip
import re
import tarfile
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnets.data.fetch import fetch, locked
from resnets.errors import FetchError, ModelFileError, nearest
from resnets.weights import local
from resnets.weights.entry import Entry, picture_of
from resnets.weights.worlds import dialect_of
from resnets.whole import whole

if TYPE_CHECKING:
    from resnets.weights.model import Model

SOURCES = ("torchvision", "timm", "hf", "keras", "slim", "akamaster")
LARGEST = 2**31  # bytes of an unpacked archive; the largest real one has about 500 MB
BLOCK = 2**20

_PUBLISHED = re.compile(r"-([0-9a-f]{8})\.\w+$")  # the beginning of a file's sha256, in its name
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([A-Za-z0-9][\w./-]*))?")


def is_tag(text: str) -> bool:
    """Whether a text has the form of a tag (SOURCE:...); whether there is such a tag is another matter."""
    source, colon, _ = text.partition(":")
    return bool(colon) and source in (*SOURCES, local.SOURCE)


def tags(pattern: str = "*") -> list[str]:
    """The full tags that match a shell pattern ("timm:*50*"), in the order of `registry.toml`; the user's own last."""
    return [tag for tag in (*_entries()[0], *local.entries()) if fnmatch.fnmatchcase(tag, pattern)]


def entry_of(tag: str) -> Entry | None:
    """What is known of a tag, in full or without its last part ("torchvision:resnet50"); None if nothing is."""
    if tag.startswith(f"{local.SOURCE}:"):
        return local.entries().get(tag)
    entries, defaults = _entries()
    return entries.get(defaults.get(tag, tag))


def default_of(network: str) -> str | None:
    """The tag that our registry has for a network of the catalog: torchvision's default, else timm's, else None."""
    entries, defaults = _entries()
    of_network = [tag for tag in defaults.values() if entries[tag].network == network]
    return next((tag for source in ("torchvision", "timm") for tag in of_network if tag.startswith(f"{source}:")), None)


def fetch_weights(tag: str, cache: Path | None = None, brief: bool = False) -> Path:
    """The file of a tag, or the folder (config.json and weights) for `hf:` and `timm:`; downloaded the first time.

    brief: as for `fetch`, for whoever can do without.

    What arrives is verified and kept in ``cache`` (``weights`` in ``RESNETS_HOME``), where a file that was put
    there by hand is used instead of the network.

    Raises ModelFileError for a tag that does not exist, with the nearest ones, and for an archive that does not
    hold what it should; FetchError when the file does not arrive.
    """
    source, _, name = tag.partition(":")
    entry = entry_of(tag)
    cache = cache or _cache()
    if source in ("hf", "timm"):
        from resnets.weights.hub import fetch_folder

        place = _REPOSITORY.fullmatch(entry.address if entry else name if source == "hf" else f"timm/{name}")
        if place and (source == "hf" or "." in place[1]):
            repository, revision = place[1], place[2] or "main"
            folder = cache / "hf" / repository.replace("/", "--") / revision.replace("/", "--")
            return fetch_folder(repository, revision, folder, nearest(tag, _known()) if entry is None else "", brief)
    if entry is None:
        raise ModelFileError(f"There are no weights {tag!r}.{nearest(tag, _known()) or _OTHERWISE}")
    if source == local.SOURCE:
        return local.files_of(entry, cache, brief)
    path = cache / source / entry.address.rpartition("/")[2]
    if not entry.member:
        return fetch(entry.address, path, sha256=entry.sha256, md5=entry.md5, brief=brief)
    return _unpacked(entry, path, path.with_name(entry.member))


def stated(tag: str | None) -> tuple[str | None, str | None]:
    """(the dialect, the network) that the user's own registry says of a tag; None where it says nothing.

    Raises ModelFileError for a dialect that there is not.
    """
    entry = entry_of(tag) if tag and tag.startswith(f"{local.SOURCE}:") else None
    if entry is None:
        return None, None
    network = None if entry.network == "custom" else entry.network  # one that the catalog has no name for
    return dialect_of(entry.dialect).name if entry.dialect else None, network or None


def describe(model: Model, tag: str) -> Model:
    """A model with what is known of its tag: the preprocessing of its entry; tag, licence, source in its provenance."""
    entry = entry_of(tag)
    pretrained = {
        "tag": entry.tag if entry else tag,
        "licence": (entry.licence or None) if entry else None,
        "source": source_of(tag) or None,
    }
    preprocessing = model.preprocessing
    if entry and tag.startswith(f"{local.SOURCE}:"):  # which says what differs from what the file says
        preprocessing = local.prepared(preprocessing, entry)
    elif entry:
        preprocessing = entry.preprocessing
    return replace(
        model,
        preprocessing=preprocessing,
        provenance=replace(model.provenance, pretrained=pretrained),
    )


def source_of(tag: str) -> str:
    """The page or address that a tag's weights are from."""
    from resnets.weights.hub import HUB

    source, _, name = tag.partition(":")
    entry = entry_of(tag)
    if entry is not None and entry.source:
        return entry.source
    if source in ("hf", "timm"):
        repository = entry.address if entry else name if source == "hf" else f"timm/{name}"
        return f"{HUB}/{repository.partition('@')[0]}"
    return entry.address if entry else ""


_OTHERWISE = " docs/guides/pretrained.md says how tags are made."


def _cache() -> Path:
    from resnets.machine import home

    return home() / "weights"


def _known() -> list[str]:
    entries, defaults = _entries()
    return [*entries, *defaults, *local.entries()]


@functools.cache
def _entries() -> tuple[dict[str, Entry], dict[str, str]]:
    """(the entries by their full tags, full tags by their short forms)."""
    document = tomllib.loads(Path(__file__).with_name("registry.toml").read_text(encoding="utf-8"))
    entries, defaults = {}, {}
    for source in SOURCES:
        for group in document[source]["group"]:
            for row in group["weights"]:
                fields = {**document[source], **group, **row}
                entry = _entry(source, fields, document["sha256"])
                entries[entry.tag] = entry
                if fields.get("default"):
                    defaults[f"{source}:{_name(fields)}"] = entry.tag
    return entries, defaults


def _name(fields: Mapping[str, Any]) -> str:
    return re.split("[.:]", fields["tag"])[0]


def _entry(source: str, fields: Mapping[str, Any], sums: Mapping[str, str]) -> Entry:
    words = {"name": _name(fields), "tag": fields["tag"]}
    words["file"] = fields.get("file", "").format(**words)
    published = _PUBLISHED.search(words["file"])
    return Entry(
        tag=f"{source}:{fields['tag']}",
        network=fields.get("network", "{name}").format(**words),
        dialect=fields["dialect"],
        address=fields["address"].format(**words),
        licence=fields["licence"],
        figures=fields["figures"],
        member=fields.get("member", "").format(**words),
        sha256=sums.get(words["file"], published[1] if published else ""),
        md5=fields.get("md5", ""),
        **{key: round(fields[key] / 100, 5) for key in ("top1", "top5") if key in fields},
        picture=picture_of(fields),
    )


class _Bounded(gzip.GzipFile):
    """A stream of which nobody gets much at once: tarfile reads what a header says, whatever it says."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK:
            raise tarfile.ReadError("a header of absurd size")
        return super().read(size)


def _unpacked(entry: Entry, archive: Path, path: Path) -> Path:
    """The one file that counts of an archive without a published checksum; the archive is removed when it is out."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if path.exists():
                return path
            fetch(entry.address, archive, unchecked=True)
            with whole(path) as target:
                for block in _blocks(archive, entry.member):
                    target.write(block)
            archive.unlink()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        archive.unlink(missing_ok=True)
        raise ModelFileError(
            f"{entry.address} is not the archive that it should be ({error}): it was removed; try again."
        ) from error
    except OSError as error:
        raise FetchError(
            f"{path} cannot be written: {error.strerror}; free some space, or set RESNETS_HOME to a folder that can "
            "be written."
        ) from error
    return path


def _blocks(archive: Path, member: str) -> Iterator[bytes]:
    """The bytes of a plain file of a .tar.gz; its names are compared and never used to write anything."""
    found, total = False, 0
    with _Bounded(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for info in tar:
                total += info.size
                if not 0 <= total <= LARGEST:
                    raise tarfile.ReadError("it unpacks to more than it should")
                if info.name.removeprefix("./") != member:
                    continue
                if not info.isreg() or found:
                    raise tarfile.ReadError(f"{member} is not one plain file")
                found = True
                file = tar.extractfile(info)
                assert file is not None  # it is a regular file
                while block := file.read(BLOCK):
                    yield block
        while stream.read(BLOCK):  # to the end, where gzip's checksum of everything stands
            pass
    if not found:
        raise tarfile.ReadError(f"{member} is not in it")
