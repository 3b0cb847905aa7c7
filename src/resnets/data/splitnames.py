"""Which split a folder's name means, by its words: "training_set", "seg_train" and "TrainImages" all train.

A name is cut into words at points, spaces, dashes, underscores, digits and capitals. One word says the split; what else
stands in the name says nothing ("set", "images"), or in another split's name too ("seg" of seg_train, seg_test).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection

TRAIN = frozenset({"train", "training", "trn", "trainval", "traindev"})
VAL = frozenset({"val", "valid", "validation", "validate", "dev", "devel", "development"})
TEST = frozenset({"test", "testing", "tests", "tst"})
HELD_OUT = frozenset({"eval", "evaluation", "holdout", "heldout"})  # "val", or "test" beside another folder for "val"
PLAIN = frozenset({"val", "validation", "test", "testing"})  # that hardly anybody calls a class, as "valid" or "dev"
SAY_NOTHING = frozenset(
    {
        *("set", "sets", "split", "splits", "subset", "part", "data", "dataset", "ds", "folder", "dir", "the", "my"),
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "sample", "samples"),
        *("class", "classes", "new", "final", "full", "small", "raw", "v", "x"),
    }
)
_ROLES = {
    **dict.fromkeys(TRAIN, "train"),
    **dict.fromkeys(VAL, "val"),
    **dict.fromkeys(TEST, "test"),
    **dict.fromkeys(HELD_OUT, "held out"),
}


def roles(names: Collection[str]) -> dict[str, str]:
    """Name to "train", "val" or "test", of those folder names among `names` that mean a split."""
    read = {name: found for name in names if (found := _read(name))}
    sharing = defaultdict(set)  # what else stands in names -> their roles
    for role, rest in read.values():
        sharing[rest].add(role)
    known = {name: role for name, (role, rest) in read.items() if not rest or len(sharing[rest]) > 1}
    held_out = "test" if "val" in known.values() else "val"
    return {name: held_out if role == "held out" else role for name, role in known.items()}


def parted(names: Collection[str]) -> bool:
    """Whether folders beside each other are what trains and what is held out."""
    found = set(roles(names).values())
    return len(found) > 1 and "train" in found


def split_named(wanted: str, there: Collection[str]) -> str:
    """The split that somebody means by a name: one of `there` if it can be, else `wanted` itself."""
    if wanted in there:
        return wanted
    found = _read(wanted)
    if found is None or found[1]:
        return wanted
    meant = ("val", "test") if found[0] == "held out" else (found[0],)
    return next((split for split in meant if split in there), meant[0])


def stranger(names: str, beside: str) -> str:
    """What to say of folders or files beside those that are splits."""
    return f"{names}: beside {beside} and no split by name, so left out; call it train, val or test if it is one."


def is_plain(name: str) -> bool:
    """Whether a split's name is one that no class has."""
    return any(word in PLAIN for word in words(name))


def words(name: str) -> list[str]:
    """The words of a folder's name, in lower case."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    text = " ".join(word for word in re.split(r"[\W_\d]+", parted.lower()) if word)
    return re.sub(r"\b(hold|held) out\b", "heldout", text).split()


def _read(name: str) -> tuple[str, tuple[str, ...]] | None:
    """(role, the words that could mean something else) of a name with one role; None for any other."""
    found, rest = set(), []
    for word in words(name):
        if role := _role(word):
            found.add(role)
        elif word not in SAY_NOTHING:
            rest.append(word)
    if found == {"train", "val"}:  # "train_val" is what trains where "test" is held out
        found = {"train"}
    return (found.pop(), tuple(rest)) if len(found) == 1 else None


def _role(word: str) -> str:
    """The role of a word, which may be written together with one that says nothing: "testset", "trainimages"."""
    if word in _ROLES:
        return _ROLES[word]
    for role_word, role in _ROLES.items():
        rest = word.removeprefix(role_word) if word.startswith(role_word) else word.removesuffix(role_word)
        if len(rest) > 1 and rest != word and rest in SAY_NOTHING:
            return role
    return ""
