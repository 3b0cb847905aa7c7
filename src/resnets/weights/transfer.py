"""One conversion from beginning to end: source -> model -> target, and the certificate over both."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from resnets.architecture import plan
from resnets.data.preprocess import Preprocessing
from resnets.errors import ModelFileError
from resnets.network import ResNet
from resnets.weights import convert, modelfile, registry
from resnets.weights.binary import as_two_classes, is_binary
from resnets.weights.locate import located, own_file
from resnets.weights.model import Model
from resnets.weights.named import recognised
from resnets.weights.open import open_file
from resnets.weights.recognise import Recognised, recognise
from resnets.weights.worlds import dialect_of
from resnets.whole import whole

OWN = "resnets"  # the name of our own model file among the dialects


@dataclass
class Transfer:
    """A conversion under way. `found` is the recognised foreign source, None for our own model file.

    prepared_by: who has said how pictures are prepared, if not the source
    """

    source: str
    files: tuple[Path, ...]
    model: Model
    found: Recognised | None
    target: Recognised | None = None
    target_dialect: str = OWN
    place: Path = Path()
    written: tuple[Path, ...] = ()
    proof: dict[str, Any] | None = None
    regraphed: dict[str, Any] = field(default_factory=dict)
    prepared_by: str = ""

    def check(self, target: Path | None, dialect: str | None, proof: Path | None) -> None:
        """Refuse, before any work, what cannot be written. Raises ModelFileError.

        target      what `write` will be given, None if nothing is to be written
        dialect     what it shall be, None for our own model file
        proof       what `certify` will be given, None if there is to be no certificate
        """
        self.target_dialect = OWN if dialect is None else dialect
        if self.target_dialect != OWN:
            dialect_of(self.target_dialect)
        elif target is not None and target.suffix != ".safetensors":
            raise ModelFileError(
                f"{target} does not end in .safetensors, as our model file does; or name a dialect: `target_dialect`."
            )
        if proof is not None and self.found is None and self.target_dialect == OWN:
            raise ModelFileError("A certificate compares with another framework's file, and both are our own.")
        if proof is not None and target is not None and proof.resolve() == target.resolve():
            raise ModelFileError(f"{proof} cannot be both the result and its certificate: choose another place.")
        for path in filter(None, (target, proof)):
            if path.exists() and any(path.samefile(file) for file in self.files):
                raise ModelFileError(f"{path} is the source itself: choose another place for the result.")
            if not path.absolute().parent.is_dir():
                raise ModelFileError(f"There is no folder {path.parent} to write {path.name} into: make it first.")

    def describe(self, preprocessing: Preprocessing) -> None:
        """Take the preprocessing that the user knows."""
        if preprocessing != self.model.preprocessing:
            self.model = dataclasses.replace(self.model, preprocessing=preprocessing)
            self.prepared_by = "as it was given"

    def adopt(self, preprocessing: Preprocessing, graph: dict[str, Any]) -> None:
        """Take the preprocessing and the reading of the graph that a probe found best."""
        if preprocessing != self.model.preprocessing:
            self.describe(preprocessing)
            self.prepared_by = "by the probe"
        if graph:
            self.model = dataclasses.replace(self.model, network=with_graph(self.model.network, graph))
            self.regraphed = graph

    def write(self, path: Path) -> None:
        """Write the target: our model file, or a file of the dialect that `check` was given. Raises ModelFileError."""
        self.place = path
        if self.target_dialect != OWN:
            self.written = convert.write(self.model, path, self.target_dialect, keep=self.files)
            return
        modelfile.save(path, self.model)
        self.written = (path,)

    def certify(self, path: Path) -> dict[str, Any]:
        """Run every foreign side (source, target) and our network on the same inputs; write and return what came out.

        Raises ModelFileError when the document cannot be written, and when a probe chose another graph.
        """
        if self.regraphed:
            raise ModelFileError(
                f"The probe found that this file wants another graph ({self.regraphed}) than the one its dialect's own "
                "code runs, so that there is nothing to compare with: leave `certificate` out."
            )
        from resnets.weights.certificate import certificate

        proofs = []
        if self.found is not None:
            own = (self.model.preprocessing, self.prepared_by) if self.prepared_by else None
            proofs.append(
                certificate(self.found.file, self.found.dialect.name, self._as_written(), self.written, prepared=own)
            )
        if self.target_dialect != OWN:
            again = recognise(open_file(self.place), self.target_dialect)
            network = self.model.network
            proofs.append(certificate(again.file, self.target_dialect, network, self.written, self.files))
        if any(place.exists() and path.exists() and path.samefile(place) for place in self.written):
            raise ModelFileError(f"{path} is what it is about: choose another place for the certificate.")
        documents = sorted(proofs, key=lambda proof: bool(proof["holds"]))  # a failing one first
        self.proof = documents[0]
        document = {**documents[0], "sides": documents} if len(documents) > 1 else documents[0]
        with whole(path) as file:
            file.write(json.dumps(document, indent=2).encode() + b"\n")
        return self.proof

    def _as_written(self) -> ResNet:
        """The network as somebody will load it: from the file that was written, if that is our own."""
        return modelfile.load(self.written[0]).network if self.target_dialect == OWN else self.model.network


def open_source(
    source: str,
    dialect: str | None = None,
    network: str | None = None,
    num_classes: int | None = None,
    prefix: str | None = None,
    binary: bool = False,
) -> Transfer:
    """Open what is to be converted: our model file, a run's folder, a foreign file or folder, or a tag.

    dialect, network, num_classes, prefix   as in `convert.read`
    binary                                  whether a head of one output shall become one of two classes

    Raises ModelFileError, FetchError, SpecError.
    """
    path, tag = located(source)
    own = own_file(path)
    if own and dialect in (None, OWN):
        if (network, num_classes, prefix) != (None, None, None):
            raise ModelFileError(
                f"{source} is our own file, which says what it is: leave `network`, `num_classes` and `prefix` out."
            )
        return Transfer(source, (own,), modelfile.load(own), None)
    if dialect == OWN:
        raise ModelFileError(f"{source} was not written by resnets: leave `source_dialect` out.")
    known = registry.stated(tag)
    if (dialect, network, prefix) == (None, None, None):
        found = recognised(path, *known)
    else:
        dialect, network = dialect or known[0], network or known[1]
        found = recognise(open_file(path), dialect and dialect_of(dialect).name, network, prefix=prefix)
    if binary and is_binary(found):
        found = as_two_classes(found)
    model = convert.classifier_of(found, num_classes)
    if tag:
        model = registry.describe(model, tag)
    return Transfer(source, found.file.files, model, found)


def with_graph(network: ResNet, graph: dict[str, Any]) -> ResNet:
    """The weights of a network in a graph of which some fields of the spec differ; shared, not copied."""
    p = network.plan
    other = plan(dataclasses.replace(p.spec, **graph), p.num_classes, p.in_channels, p.output_stride)
    with torch.device("meta"):
        variant = ResNet(other)
    variant.load_state_dict(network.state_dict(), assign=True)
    return variant.eval()
