"""A foreign file of which somebody has said what it is: what the file shows comes first, then what no tensor shows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from resnets.architecture import ResNetSpec
from resnets.errors import ModelFileError
from resnets.weights.open import open_file
from resnets.weights.recognise import Recognised, recognise
from resnets.weights.worlds.torch import stated


def recognised(
    path: Path,
    dialect: str | None,
    network: str | ResNetSpec | None,
    *,
    body: bool = False,
    sure: bool = False,
) -> Recognised:
    """What a file is.

    dialect, network    what is said of it. Of names that many codes share, as torchvision's, and of a file that says
                        nothing of its graph, the network decides where strides and zeros are. Where it cannot be that
                        network, it is what it is
    body                whether a body without a head will do, too
    sure                whether the network decides, too, where a checkpoint names another: its user has typed it

    Raises ModelFileError.
    """
    try:
        found = recognise(open_file(path), dialect, body=body)
    except ModelFileError:
        if network is None:
            raise
        return recognise(open_file(path), dialect, network, body=body)
    decides = found.dialect.borrowed and "config" not in found.file.documents and (sure or not stated.by(found.file))
    if network is not None and decides:
        # What was found by its structure, whatever its names, would not be found again as of a dialect.
        again = dialect if "structure" in found.file.documents else found.dialect.name
        with suppress(ModelFileError):
            return recognise(open_file(path), again, network, body=body)
    return found
