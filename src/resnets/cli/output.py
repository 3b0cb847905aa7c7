"""What the verbs write: results to standard output, remarks to standard error.

With ``--json`` a verb prints exactly one JSON document and nothing else on standard output.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def emit(document: object) -> None:
    """Print one JSON document. Numbers that JSON does not know (NaN, infinity) become ``null``.

    It is plain ASCII, because a file name can hold bytes that no encoding of the output knows.
    """
    print(json.dumps(_json_able(document), indent=2, allow_nan=False))


def console() -> Console:
    """Return the console for tables and text that people read; a pipe gets the same words without colour."""
    from rich.console import Console

    return Console(highlight=False)


def note(text: str) -> None:
    """Say ``text`` on standard error, where it disturbs no result."""
    print(text, file=sys.stderr, flush=True)


def _json_able(value: object) -> object:
    if isinstance(value, dict):
        return {key: _json_able(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
