"""Bodies: what a training may start from, with or without a head, and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.architecture import ResNetSpec
from resnets.architecture.catalog import name_of
from resnets.errors import DataError, FetchError, ModelFileError
from resnets.progress import say
from resnets.weights import convert, local, modelfile, registry, run
from resnets.weights.grey import coloured
from resnets.weights.locate import located, own_file
from resnets.weights.model import Model
from resnets.weights.named import recognised

USUAL = "resnet18"  # where no network is asked for
COSTS = "Training from scratch, which needs more images and more time than from a pretrained body"

SMALL = 64  # pixels, up to which bodies that others have trained on photos are of no use


@dataclass(frozen=True, kw_only=True)
class Body:
    """A network to start from.

    model       of a file without a head it has no classes, `()`, and its network a head of zeros for one class
    origin      fit for JSON: "name" (of the file, or the tag), "sha256" (of the largest file), "files" ("name", "bytes"
                and "sha256" of each), "licence" and "source" (None where nobody says them), "network" (its name in the
                catalog, or "custom")
    """

    model: Model
    origin: Mapping[str, Any]


def load_body(what: str | Path, network: str | ResNetSpec | None = None) -> Body:
    """The body of our own file, of a run's folder, of anybody's file or folder, or of a tag.

    network     which network anybody's file holds, where it cannot be believed, or says nothing that is known

    Raises ModelFileError when there is none, it cannot be trusted, or it is no residual network; FetchError when a
    tag's file does not arrive.
    """
    path, tag = located(what)
    files: tuple[Path, ...]
    if own := own_file(path):
        model, files = modelfile.load(own), (own,)
    elif why := run.without_model(path):
        raise ModelFileError(why)
    else:
        dialect, stated = registry.stated(tag)
        found = recognised(path, dialect, network or stated, body=True, sure=network is not None)
        model, files = convert.model_of(found), found.file.files
    model = coloured(model)
    if tag:
        model = registry.describe(model, tag)
    listed = convert.digests(files)
    known = model.provenance.pretrained or {}
    origin = {
        "name": tag or Path(path).name,
        "sha256": max(listed, key=lambda one: one["bytes"])["sha256"],
        "files": listed,
        "licence": known.get("licence"),
        "source": known.get("source"),
        "network": name_of(model.network.plan.spec) or "custom",
    }
    return Body(model=model, origin=origin)


def auto(network: str | None) -> str | None:
    """The tag of pretrained weights for a network of the catalog, with the file in the cache; None if there are none.

    network: None for the user's own choice, else for resnet18

    The user's registry (`auto` in it) comes before ours. What is not in the cache is fetched, with progress. Where that
    fails (no network, which is found out within seconds; a refusal; a wrong checksum) one line says what it costs, and
    how to bring a file. Raises ModelFileError for a mistake in the user's registry.
    """
    try:
        tag = usual(network)
        if tag is None:
            say(f"{COSTS}: none is known here for {network}; name a file with one as `weights`.")
            return None
        registry.fetch_weights(tag, brief=True)
    except (FetchError, DataError) as problem:  # the last: this user has no home directory
        say(f"{COSTS}: {' '.join(str(problem).split())} Or name a file as `weights`.")
        return None
    return tag


def usual(network: str | None) -> str | None:
    """The tag that `auto` takes, whether its file can be had or not; None where no entry is for this network."""
    own = local.entries()
    wanted = network or USUAL
    for tag, entry in own.items():
        if entry.auto is True and (network is None or entry.network == network):
            return tag
    return next((tag for tag, entry in own.items() if entry.auto == wanted), None) or registry.default_of(wanted)
