"""The certificate: a foreign file and our network compared on the same input, unit by unit, in float64.

One path is the source, executed by its own framework or by our emulation of its graph, which shares no code with
the conversion. The other is our network, widened to float64 so that a wrong rule cannot hide behind rounding: two
right computations then differ by the order of their additions alone. Each difference is judged relative to the
spread of the activation in which it is found, because a norm with a tiny variance makes large numbers of small
ones, and makes their differences as large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets import __version__
from resnets.data.preprocess import Preprocessing
from resnets.network import ResNet
from resnets.weights.assumed import assumptions
from resnets.weights.convert import digests
from resnets.weights.formats.stored import Foreign
from resnets.weights.modelfile import self_test_input
from resnets.weights.worlds import emulation, framework
from resnets.weights.worlds.reference import EXACT, Reference, UnfitError
from resnets.weights.worlds.torch import stated

MAX_SIDE = 1024  # of an input that a stranger's file declares
GUESSED = "it was recognised by structure, and nobody says which graph it has: `resnets convert SRC DST --model NAME`"
SQUARE = ("akamaster",)  # dialects whose own code pools square maps only

# Where a conversion has to round (float64; Caffe's sums, divided by a factor; norms that stand in for folded ones), the
# last digit of a float32 is what the two paths differ in. Measured: up to 2e-7 of a unit's spread.
ROUNDED = 1e-6


@dataclass(frozen=True)
class Difference:
    """How far two activations of one role lie apart, at most over all inputs; infinite where they do not compare.

    relative    to the spread of the source's activation, zero included
    why         why they do not compare, or ""
    """

    role: str
    max_abs: float
    relative: float
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the certificate's document has it; what is not finite is None."""
        finite = math.isfinite(self.relative)
        return {
            "role": self.role,
            "max_abs": self.max_abs if finite else None,
            "relative": self.relative if finite else None,
        }


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was compared, and what came of it.

    reference           who executed the source
    tolerance           what is allowed, relative to each activation's spread
    units               the stem and every unit, in the order in which they run
    logits              the same for the logits
    argmax_agreement    share of the images whose largest logit is the same
    inputs              their shapes; `modelfile.self_test_input` makes them
    versions            of whatever computed
    assumed, seen       what no tensor shows of the graph and the preprocessing: fact to words (`assumptions`)
    remarks             sentences, for example why a framework that exists was not the reference
    source, target      {"files": name, bytes and sha256 of each}
    """

    reference: str
    tolerance: float
    units: tuple[Difference, ...]
    logits: Difference
    argmax_agreement: float
    inputs: tuple[tuple[int, ...], ...]
    versions: Mapping[str, str]
    remarks: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    target: Mapping[str, Any] | None = None

    @property
    def first(self) -> Difference | None:
        """The first role that differs by more than is allowed, if there is one."""
        return next((one for one in (*self.units, self.logits) if not one.relative <= self.tolerance), None)

    @property
    def worst(self) -> float:
        """The largest relative difference of any role."""
        return max(one.relative for one in (*self.units, self.logits))

    @property
    def holds(self) -> bool:
        """Whether every role agrees."""
        return self.first is None

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        if self.first is None:
            graph = " for the graph assumed" if self.assumed.keys() - {"preprocessing"} else ""
            return (
                f"The certificate holds{graph}: the logits lie within {self.logits.relative:.1g} of their spread of "
                f"those of {self.reference}."
            )
        if self.first.why:
            at = "" if self.first.why == GUESSED else f"at {self.first.role} "
            return f"The certificate does not hold: {at}{self.first.why}."
        return (
            f"The certificate does not hold: {self.first.role} is the first to differ from {self.reference}, by "
            f"{self.first.relative:.1g} of its spread, where {self.tolerance:.0e} is allowed."
        )

    def to_dict(self) -> dict[str, Any]:
        """The document that `--certificate F.json` writes."""
        logits = self.logits.to_dict()
        return {
            "holds": self.holds,
            "max_abs": logits["max_abs"],
            "relative": logits["relative"],
            "argmax_agreement": self.argmax_agreement,
            "reference": self.reference,
            "tolerance": self.tolerance,
            "first_difference": self.first.role if self.first else None,
            "verdict": self.verdict,
            "remarks": list(self.remarks),
            "assumed": dict(self.assumed),
            "seen": dict(self.seen),
            "source": self.source,
            "target": self.target,
            "units": [unit.to_dict() for unit in self.units],
            "inputs": [list(shape) for shape in self.inputs],
            "versions": dict(self.versions),
        }


def certificate(
    file: Foreign,
    dialect: str,
    network: ResNet,
    target_files: Sequence[Path] = (),
    source_files: Sequence[Path] | None = None,
    use_framework: bool = True,
    prepared: tuple[Preprocessing, str] | None = None,
) -> dict[str, Any]:
    """Compare a foreign file with our network: the document of `Certificate.to_dict`.

    file            as its dialect prepares it (`Recognised.file`), whichever way the conversion went
    network         ours, with the head that the file has; it stays as it is
    target_files    what was written, to be named by its hash
    source_files    what was read; by default the foreign file's own
    prepared        how pictures are prepared and who says so, where the file does not
    use_framework   False: the emulation, even where the framework itself is installed

    Raises ModelFileError when a file cannot be read.
    """
    found, remark = _compared(file, dialect, network, use_framework)
    if file.documents.get("structure") and stated.by(file) != stated.USER:
        found = replace(found, reference="", logits=_incomparable("logits", GUESSED))
    assumed, seen = assumptions(file, dialect, network.plan, prepared)
    return replace(
        found,
        assumed=assumed,
        seen=seen,
        remarks=(remark,) if remark else (),
        source={"files": digests(tuple(file.files if source_files is None else source_files))},
        target={"files": digests(tuple(target_files))},
    ).to_dict()


def certify(reference: Reference, network: ResNet, inputs: Sequence[Tensor]) -> Certificate:
    """Run both paths on the inputs, each (N, C, H, W) in float64, and compare them role by role."""
    wide = _widened(network)
    found: dict[str, Difference] = {}
    agreeing = 0
    for x in inputs:
        ours = _activations(wide, x)
        theirs, failure = _executed(reference, x)
        for role in dict.fromkeys([*ours, *theirs]):
            new = _difference(role, ours.get(role), theirs.get(role), failure)
            found[role] = max(found.get(role, new), new, key=lambda one: one.relative)
        if not found["logits"].why:
            agreeing += int((ours["logits"].argmax(1) == theirs["logits"].argmax(1)).sum())
    logits = found.pop("logits")
    return Certificate(
        reference=reference.name,
        tolerance=reference.tolerance,
        units=tuple(found.values()),
        logits=logits,
        argmax_agreement=agreeing / sum(len(x) for x in inputs),
        inputs=tuple(tuple(x.shape) for x in inputs),
        versions={"resnets": __version__, "torch": torch.__version__, **reference.versions},
    )


def _compared(file: Foreign, dialect: str, network: ResNet, use_framework: bool) -> tuple[Certificate, str]:
    """(the certificate, a remark or "")."""
    inputs = _inputs(file, dialect, network)
    emulated = _allowing(emulation(file, dialect), file)
    remark = ""
    try:
        if use_framework and (itself := framework(file, dialect)):
            found = certify(_allowing(itself, file), network, inputs)
            if itself.tolerance == EXACT or not found.holds:
                return found, ""
            finer = certify(emulated, network, inputs)  # which shows what float32 hides
            if finer.holds:
                return found, f"{emulated.name} agrees within {finer.worst:.1g} of every activation's spread."
            return finer, f"{itself.name} computes in float32 and shows no difference."
    except UnfitError as problem:
        remark = f"The framework itself is not the reference: {problem}."
    return certify(emulated, network, inputs), remark


def _inputs(file: Foreign, dialect: str, network: ResNet) -> list[Tensor]:
    """Two images of a usual size, and two of odd sides, where paddings and confused axes show."""
    side = 32 if network.plan.spec.stem == "cifar" else 64
    sizes = [(side, side), (side + 1, side + 1 if dialect in SQUARE else side - 1)]
    declared = file.documents.get("input", ())[2:]  # Caffe's, whose last pool fits this size alone, and ONNX's
    if len(declared) == 2 and min(declared) > 0 and max(declared) <= MAX_SIDE:
        height, width = declared
        sizes = [(height, width), ((height - 1) | 1, (width - 1) | 1)]  # the stem halves both to the same
        sizes = sizes if file.container == "caffe" else sizes[:1]
    whole = self_test_input(network.plan.in_channels, max(map(max, sizes))).double()
    return [whole[:, :, :height, :width] for height, width in sizes]


def _allowing(reference: Reference, file: Foreign) -> Reference:
    """The reference with the tolerance that the conversion of this file needs."""
    norms = (layer for layer in file.documents.get("graph", ()) if layer.type == "BatchNorm")
    factors = {value for layer in norms for blob in layer.blobs[2:] for value in blob.read().flatten().tolist()}
    wide = any(stored.dtype == torch.float64 for stored in file.tensors.values())
    if factors <= {0.0, 1.0} and not wide and not file.documents.get("rounded"):
        return reference
    return replace(reference, tolerance=max(reference.tolerance, ROUNDED))


def _widened(network: ResNet) -> ResNet:
    """The network in float64, made of its plan and its state as when it is loaded; the one given stays as it is."""
    with torch.device("meta"):
        wide = ResNet(network.plan)
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    wide.load_state_dict({name: t.double() if t.is_floating_point() else t for name, t in state.items()}, assign=True)
    return wide.eval()


@torch.no_grad()
def _activations(network: ResNet, x: Tensor) -> dict[str, Tensor]:
    with torch.autocast("cpu", enabled=False):
        x = network.stem(x)
        found = {"stem": x}
        for stage in network.stage_names:
            for name, unit in network.get_submodule(stage).named_children():
                x = found[f"{stage}.{name}"] = unit(x)
        return {**found, "logits": network.head(x)}


def _executed(reference: Reference, x: Tensor) -> tuple[Mapping[str, Tensor], str]:
    """(what the source gives, why it gives nothing)."""
    try:
        with torch.autocast("cpu", enabled=False):
            return reference.run(x), ""
    except UnfitError:
        raise
    except Exception as problem:  # the graph is a stranger's: that it cannot be executed is an answer
        why = (str(problem) or type(problem).__name__).splitlines()[0].rstrip(".")
        return {}, f"the source cannot be executed ({why})"


def _incomparable(role: str, why: str) -> Difference:
    return Difference(role, math.inf, math.inf, why)


def _difference(role: str, ours: Tensor | None, theirs: Tensor | None, failure: str) -> Difference:
    def incomparable(why: str) -> Difference:
        return _incomparable(role, why)

    if theirs is None:
        return incomparable(failure or "the source has no such unit")
    if ours is None:
        return incomparable("the source has a unit that our network has not")
    if ours.shape != theirs.shape:
        return incomparable(f"the source gives {tuple(theirs.shape)} and our network {tuple(ours.shape)}")
    for whose, activation in (("the source gives", theirs), ("our network gives", ours)):
        if not torch.isfinite(activation).all():
            return incomparable(f"{whose} values that are not finite")
    max_abs = float((ours - theirs).abs().max())
    spread = max(float(theirs.max()), 0.0) - min(float(theirs.min()), 0.0)
    return Difference(role, max_abs, max_abs / spread if spread else math.inf if max_abs else 0.0)
