"""One tree of errors. Every message is a sentence that names the thing and what to do next.

The command line prints the message and leaves with ``exit_status``: 2 for wrong usage or bad input,
1 when the thing asked for failed. No user's mistake shows a traceback. An error that means a wrong value is a
``ValueError`` too. A message names parameters in backquotes (`` `out` ``), and the command line makes flags of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice


class ResnetsError(Exception):
    """The root: catch this one to catch everything that this library raises on purpose."""

    exit_status = 2


class ParameterError(ResnetsError, ValueError):
    """A value that a parameter does not take: an engine, a precision, a device or a method that there is not."""


class SpecError(ResnetsError, ValueError):
    """A network that cannot exist: a contradictory spec, an unknown name, an impossible size."""


class DataError(ResnetsError, ValueError):
    """A data set that cannot be used as it stands, or has no such split or class."""


class ImageError(ResnetsError):
    """One image that cannot be used. The message is the reason alone; the caller knows the path."""


class UnreadableError(ImageError):
    """An image that could not be read this time: no permission, no memory. Another time it may be good."""


class NoReaderError(ImageError):
    """An image of a kind that needs a package which is not installed. With it, it may be good."""


class ModelFileError(ResnetsError):
    """A model file that is damaged, foreign, or newer than this version."""


class RecipeError(ResnetsError, ValueError):
    """A recipe with an unknown key or a value that makes no sense."""


class TrainingError(ResnetsError):
    """Training that cannot go on, for example because the loss is no longer finite."""

    exit_status = 1


class ExportError(ResnetsError):
    """A file that was written and does not say what its source says, or a precision that costs too much accuracy."""

    exit_status = 1


class WriteError(ModelFileError, DataError, OSError):
    """A file that cannot be written: no room, no permission, no such folder.

    Models, tables and pages are all written in one way, so that whoever catches one of these kinds catches this too.
    `errno` and `strerror` are the system's.
    """

    def __init__(self, message: str, cause: OSError) -> None:
        super().__init__(message)
        self.errno, self.strerror = cause.errno, cause.strerror

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[WriteError], tuple[str, OSError]]:
        """Between processes it keeps both."""
        return WriteError, (str(self), OSError(self.errno, self.strerror))


class FetchError(ResnetsError):
    """A download that did not arrive whole."""

    exit_status = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean "resnet50"?' with up to three known names close to ``name``, or an empty string.

    Looked for among the first thousand: files of strangers may have any number of names.
    """
    matches = difflib.get_close_matches(name, list(islice(known, 1000)), n=3, cutoff=0.6)
    quoted = [f'"{match}"' for match in matches]
    return f" Did you mean {' or '.join(quoted)}?" if quoted else ""
