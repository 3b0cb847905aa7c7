"""Pictures of other shapes, sizes and kinds than the rest, and what a square crop makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnets.data.sample import Sample
from resnets.diagnosis.diagnosis import Finding, count
from resnets.diagnosis.files import Look
from resnets.text import printable

LONG = 2.0  # of the sides: beyond it the centre square is less than half of the picture
CENTRE = (224 / 256) ** 2  # share of that square which `Preprocessing.evaluation` keeps
USUAL = CENTRE / LONG  # share that the centre crop keeps of most pictures, below which the crop is the wrong choice
TINY = 64  # pixels: a shorter side below it is enlarged for the usual sizes
RARE = 0.1  # share of the files up to which a kind of file is odd

# Kind, Pillow's modes, what they are, the mend.
COLOURS = (
    (
        "cmyk",
        ("CMYK", "YCCK"),
        "in CMYK, as for printing",
        "Colours may come out wrong, for no profile is applied: save them as RGB.",
    ),
    (
        "deep",
        ("I", "F", "I;16", "I;16B", "I;16L", "I;16N"),
        "of more than eight bits",
        "They are scaled to eight; if their range matters (X-rays, depth), scale them yourself.{white}",
    ),
    (
        "transparent",
        ("RGBA", "LA", "PA", "La", "RGBa"),
        "in a format with transparency",
        "What is transparent becomes white: make sure that no outline tells the class.",
    ),
    (
        "palette",
        ("P",),
        "of few colours, with a palette",
        "Often they are drawings or screenshots among photos: look at them.",
    ),
    (
        "grey",
        ("L", "1"),
        "grey among colour pictures",
        "Good as they are, if grey does not go with a class: a network would learn that instead.",
    ),
)


def findings(samples: Sequence[Sample], looks: Sequence[Look], white: float | None) -> list[Finding]:
    """All that the headers tell: crops, sizes, orientation, animations, colours.

    white   of the set's pictures of more than eight bits; see `depth.full_scale`
    """
    found = []
    sides = np.array([(look.width, look.height) for look in looks])
    short, long = sides.min(axis=1), sides.max(axis=1)
    usual = float(np.median(short))
    kept = CENTRE * short / long
    worst = int(kept.argmin())
    example = f"{printable(samples[worst].key)} ({sides[worst][0]} x {sides[worst][1]})"
    orientations, frames = (np.array([getattr(look, what) for look in looks]) for what in ("orientation", "frames"))

    def report(kind: str, severity: str, where: np.ndarray, what: str, mend: str, **details: np.ndarray) -> None:
        chosen = np.flatnonzero(where).tolist()
        if chosen:
            text = f"{count(len(chosen), 'picture')} {'is' if len(chosen) == 1 else 'are'} {what}."
            keys = tuple(samples[i].key for i in chosen)
            more = {name: values[chosen].tolist() for name, values in details.items()}
            found.append(Finding(kind=kind, severity=severity, text=text, mend=mend, paths=keys, details=more))

    report(
        "long",
        "warning",
        long > LONG * short,
        f"longer than {LONG:g} : 1; of {example} the centre crop keeps {kept[worst]:.0%}",
        _fit(kept, float(np.median(long / short))),
        kept=kept.round(4),
        sizes=sides,
    )
    report(
        "tiny",
        "note",
        (short < TINY) & (short < usual / 2),
        f"far smaller than the rest (shorter side below {TINY} pixels, median {usual:.0f}) and will be enlarged",
        "Replace them by larger versions if there are any; often they are icons or previews that came along.",
        sizes=sides,
    )
    report(
        "turned",
        "note",
        orientations != 1,
        "stored on the side or mirrored, with an EXIF orientation",
        "Nothing to do: they are turned before the crop. Other tools may show or learn them as stored.",
        orientations=orientations,
    )
    report(
        "animated",
        "note",
        frames > 1,
        "of several frames or pages, of which the first counts",
        "Save the frame that shows the subject as a picture of its own.",
        frames=frames,
    )
    for kind, modes, what, mend in COLOURS:
        these = np.array([look.mode in modes for look in looks])
        if these.mean() <= RARE or (kind == "deep" and white is not None):
            report(kind, "note", these, what, mend.format(white=_white(white)))
    return found


def _fit(kept: np.ndarray, ratio: float) -> str:
    """What to do about long pictures. kept: (N,) shares of all pictures; ratio: of the sides of the usual one."""
    pad = "`resnets train DATA --fit pad` shows them whole, and smaller"
    if np.median(kept) >= USUAL:
        return f"Cut them by hand so that the subject fills a square; or {pad}."
    return (
        f"The usual picture is {ratio:.1f} : 1, and the centre crop keeps {np.median(kept):.0%} of it: {pad}; "
        "with `resnets train DATA --fit squash` they are stretched."
    )


def _white(white: float | None) -> str:
    return "" if white is None else f" White is {white:,.0f}, by the largest value of the training files."
