"""Anybody's weights into our model file and back, with what proves it: a certificate, and a probe of unknown files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.acceptance.described import prepared, with_names
from resnets.acceptance.probe import Candidate, verdict
from resnets.acceptance.probe import probe as rank
from resnets.architecture.catalog import name_of
from resnets.errors import ParameterError
from resnets.inference.export import OWN, SUFFIXES
from resnets.weights import Model, transfer
from resnets.weights.convert import folded

IMAGES = 200  # that a probe takes


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """What became of somebody's weights.

    source          as it was given
    target          what was written; None if nothing was
    dialect         what the source is, "resnets" for our own model file
    target_dialect  what the target is
    network         the catalog's name of the network, or "custom"
    model           what was read, with the preprocessing and the graph that a probe chose
    proof           the certificate; None if none was asked for
    ranking         what a probe tried, the best first
    verdict         what to make of the ranking, in one sentence
    """

    source: str
    target: str | None
    dialect: str
    target_dialect: str
    network: str
    model: Model
    proof: Mapping[str, Any] | None = None
    ranking: tuple[Candidate, ...] = ()
    verdict: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the certificate holds; None if there is none."""
        return None if self.proof is None else bool(self.proof["holds"])

    def document(self) -> dict[str, Any]:
        """What `resnets convert --json` prints."""
        keys = ("holds", "max_abs", "relative", "argmax_agreement", "reference", "assumed")
        own: dict[str, Any] = {
            "source": self.source,
            "target": self.target,
            "dialect": self.dialect,
            "network": self.network,
            "classes": len(self.model.classes),
            "certificate": None if self.proof is None else {key: self.proof[key] for key in keys},
        }
        if self.ranking:
            own |= {"probe": [candidate.document() for candidate in self.ranking], "verdict": self.verdict}
        return own


def convert(
    source: str | Path,
    target: str | Path | None = None,
    *,
    source_dialect: str | None = None,
    target_dialect: str | None = None,
    network: str | None = None,
    num_classes: int | None = None,
    prefix: str | None = None,
    class_names: str | Path | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    fold_temperature: bool = False,
    certificate: str | Path | None = None,
    probe: str | Path | None = None,
    images: int | None = None,
) -> Conversion:
    """Turn weights of one world into those of another, and prove that they are equal.

    source            anybody's checkpoint or folder, our model file, a run's folder, or a tag
    target            the file or folder to write; nothing is written without it
    source_dialect    what the source is: "torchvision", "timm", "caffe", ... Default: detected
    target_dialect    what the target shall be. Default: "resnets", our own model file
    network           which network of the catalog the source holds, strides and all. Default: detected
    num_classes       replace the head by a fresh one for so many classes
    prefix            what the names of the tensors begin with that are meant, where the source holds several networks
    class_names       what the classes are called, in the order of the logits: see `described.with_names`. A head of one
                      output, a yes or no by a sigmoid, takes two names, the one that it says yes to last
    preprocessing     what differs from the source's own: "mean", "std", "resize", "crop", "order" (`described`)
    fold_temperature  divide the head by the model's temperature, which files of other worlds have no place for: other
                      logits, the same probabilities
    certificate       a JSON file: run source and target on the same inputs, compare them unit by unit, write the proof
    probe             labelled images: the target gets the preprocessing and the strides that do best on them, if they
                      do better than those of the dialect beyond chance
    images            how many of them to take. Default: 200

    Raises ParameterError for wishes that do not go together, ModelFileError for files that cannot be read, recognised
    or written, FetchError, SpecError, and DataError for the probe's images. Differing sides raise nothing: see
    `Conversion.holds`.
    """
    _check(target, certificate, probe, images, num_classes)
    if target is not None and target_dialect is None and Path(target).suffix in set(SUFFIXES) - {OWN}:
        raise ParameterError(f"{target} is for other runtimes, which `resnets export {source} {target}` writes.")
    binary = class_names is not None
    job = transfer.open_source(str(source), source_dialect, network, num_classes, prefix, binary)
    if class_names is not None:
        job.model = with_names(job.model, class_names)
    job.describe(prepared(job.model.preprocessing, preprocessing or {}))
    if fold_temperature:
        job.model = folded(job.model)
    return _done(job, target, target_dialect, certificate, probe, images)


def _done(
    job: transfer.Transfer,
    target: str | Path | None,
    dialect: str | None,
    certificate: str | Path | None,
    probe: str | Path | None,
    images: int | None,
) -> Conversion:
    """Probe, write and prove what was opened."""
    proof = None if certificate is None else Path(certificate)
    job.check(None if target is None else Path(target), dialect, proof)
    ranking, sentence = [], ""
    if probe is not None:
        ranking = rank(job.model, probe, images or IMAGES)
        chosen, sentence = verdict(ranking, job.model)
        job.adopt(chosen.preprocessing, chosen.graph)
    if target is not None:
        job.write(Path(target))
    return Conversion(
        source=job.source,
        target=None if target is None else str(target),
        dialect=transfer.OWN if job.found is None else job.found.dialect.name,
        target_dialect=job.target_dialect,
        network=name_of(job.model.network.plan.spec) or "custom",
        model=job.model,
        proof=None if proof is None else job.certify(proof),
        ranking=tuple(ranking),
        verdict=sentence,
    )


def _check(target: object, certificate: object, probe: object, images: int | None, num_classes: int | None) -> None:
    """Raise ParameterError for wishes of `convert` that do not go together."""
    if target is None and probe is None:
        raise ParameterError("There is nothing to do: name the file to write (`target`), or labelled images (`probe`).")
    if certificate is not None and target is None:
        raise ParameterError("`certificate` compares `source` with `target`: name the file to write.")
    if images is not None and (probe is None or images < 1):
        raise ParameterError("`images` says how many images `probe` takes, 1 or more: name them with `probe`.")
    if num_classes is not None and (certificate is not None or probe is not None):
        raise ParameterError("`num_classes` gives a fresh head, of which `certificate` and `probe` can say nothing.")
