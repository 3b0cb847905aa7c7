"""What a shell offers for a word that was begun: names of networks and recipes. Files are the shell's."""

from __future__ import annotations


def networks(incomplete: str) -> list[str]:
    """Names of the catalog that begin so."""
    from resnets.architecture import names

    return [name for name in names() if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Shipped recipes that begin so."""
    from importlib.resources import files

    shipped = files("resnets").joinpath("training", "recipes").iterdir()  # importing the room takes seconds
    found = (one.name.removesuffix(".toml") for one in shipped if one.name.endswith(".toml"))
    return sorted(name for name in found if name.startswith(incomplete))
