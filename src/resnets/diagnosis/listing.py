"""What a data set holds outside its class folders, where no reader of images would ever come by."""

from __future__ import annotations

from resnets.data.source import Source
from resnets.data.titles import is_list
from resnets.diagnosis.diagnosis import Finding, count
from resnets.text import some

CHANGES = "doctor-changes.csv"  # the list that a cleaned copy comes with


def misplaced(source: Source) -> list[Finding]:
    """Files that lie in no class folder."""
    beside = [name for name in source.beside if name != CHANGES and not is_list(name)]
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


def remarked(source: Source) -> list[Finding]:
    """How the folders were read, where another reading may be meant."""
    return [
        Finding(
            kind="reading",
            severity="note",
            text=remark,
            mend="Nothing need be done if that is meant; otherwise move, rename or unpack what is named.",
        )
        for remark in source.remarks
    ]
