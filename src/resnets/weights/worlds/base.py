"""What a dialect is: how another world names, lays out and prepares what we call roles.

A dialect says nothing about networks themselves. Its naming goes one way, from our state names to theirs;
`infer.py` asks through it which roles a file has, and derives the spec from the shapes found there. Writing
is the same way back: the tensors under their names, which must be recognised as the network they came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.network import ResNet
from resnets.weights.formats.stored import Foreign
from resnets.weights.model import Model

Naming = Callable[[str], str]  # our state name -> theirs; "" for a tensor that their world does not have

_STATE_NAME = re.compile(r"(?:stage(\d+)\.unit(\d+)\.)?(.+)\.(\w+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A state name taken apart: 'stage3.unit2.shortcut.conv.weight' -> 3, 2, 'shortcut.conv', 'weight'.

    stage and unit are 0 in the stem and the head, whose parts keep their first word: 'stem.conv'.
    """

    stage: int
    unit: int
    part: str
    leaf: str

    @classmethod
    def of(cls, state_name: str) -> Part:
        """The parts of one of our state names."""
        match = _STATE_NAME.fullmatch(state_name)
        assert match, state_name
        return cls(int(match[1] or 0), int(match[2] or 0), match[3], match[4])

    @property
    def kind(self) -> str:
        """conv, norm or linear."""
        return self.part.rpartition(".")[2].rstrip("0123456789")


def norm_first(plan: Plan) -> bool:
    """Whether norm and relu stand before each convolution (He 2016), so that what the last unit gives lacks a norm."""
    return plan.head[0].kind == "norm"


class Dialect:
    """One world's way with residual networks. Subclasses say what differs from torch's ways.

    A dialect that is read only leaves out `naming` and `write`.
    """

    name: ClassVar[str]
    containers: ClassVar[tuple[str, ...]]  # that its files come in (`Foreign.container`)
    borrowed: ClassVar[bool] = False  # other code has taken these names over: a network that the user names decides
    framework: ClassVar[str] = ""  # that executes its files, as people call it; "" where none can be installed
    transposed: ClassVar[bool] = False  # kernels are (H, W, I, O) and the head is (I, O)
    orders: ClassVar[tuple[str, ...]] = ("post",)  # of norm and relu that its networks have

    def claims(self, file: Foreign) -> bool:
        """Whether the file says that it is of this dialect, whatever other dialects can make of its tensors."""
        return False

    def prepare(self, file: Foreign) -> Foreign:
        """The file with its tensors as the namings expect them: prefixes stripped, optimiser state dropped."""
        return file

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """The ways in which names may run in this (prepared) file; none if it cannot be of this dialect."""
        raise NotImplementedError  # what a dialect is, is its names

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """The fields of the spec that shapes do not show."""
        return {}

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """How pictures were prepared for this file, as far as the file says; else as this world usually does."""
        return Preprocessing.evaluation(spec.image_size)

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; numbers where the file does not say."""
        return tuple(map(str, range(count)))

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """Compare what else the file says of its graph with the plan. Raises ModelFileError where they differ."""

    def proof(self, file: Foreign, plan: Plan, headless: bool) -> Callable[[ResNet], None]:
        """What compares a network that was made of a file with the file's own graph; headless: a body.

        It raises ModelFileError where they answer otherwise. Most files hold no graph that could be run.
        """
        return lambda network: None

    def states(self, file: Foreign) -> Mapping[str, str]:
        """What in the file says of its "graph" and its "preprocessing" what no tensor shows: "its config.json"."""
        return {}

    def naming(self, plan: Plan) -> Naming:
        """The names that a network gets when it is written. Raises ModelFileError where that world has none."""
        raise ModelFileError(f"{self.name} files are read, not written: choose another `target_dialect`.")

    def head_shape(self, plan: Plan, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in which the head's weight (already transposed, if need be) is written."""
        return shape

    def documents(self, model: Model) -> dict[str, Any]:
        """What is written beside the tensors, as `Foreign.documents` would have it read again."""
        return {}

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """Write the tensors and documents of `file`; the paths written. Raises ModelFileError."""
        raise ModelFileError(f"{self.name} files are read, not written: choose another `target_dialect`.")
