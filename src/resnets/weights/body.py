"""Bodies: what a training may start from, with or without a head, and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.architecture.catalog import name_of
from resnets.errors import ModelFileError
from resnets.weights import convert, modelfile, registry, run
from resnets.weights.locate import located, own_file
from resnets.weights.model import Model
from resnets.weights.open import open_file
from resnets.weights.recognise import recognise


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


def load_body(what: str | Path) -> Body:
    """The body of our own file, of a run's folder, of anybody's file or folder, or of a tag.

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
        found = recognise(open_file(path), body=True)
        model, files = convert.model_of(found), found.file.files
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
