"""Export behind the gate: a file that loses accuracy, or says something else than the network, is not written."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnets.acceptance.gate import MAX_DROP, Examples, Verdict, attempts, examples, first_good
from resnets.errors import DataError, ExportError, ParameterError
from resnets.evaluation.significance import interval
from resnets.inference import Classifier, as_classifier
from resnets.inference.export import check_place, write
from resnets.inference.quantize import Quantisation
from resnets.inference.readback import Opened
from resnets.text import printable
from resnets.weights import Model
from resnets.weights.locate import located, own_file
from resnets.weights.model import at_once
from resnets.weights.open import open_file
from resnets.weights.run import without_model

BATCH = 32  # images of a batch whose throughput is measured
SECONDS = 1.0  # that each measurement of speed takes


@dataclass(frozen=True)
class InRuntime:
    """An exported file in one of the runtimes that read it.

    max_abs, relative, relative_resized, argmax_agreement
                        how far its logits lie from the network's on pictures made for that (`readback.check`)
    top1, top1_interval on the judging images, with 95 %; None without any
    bytes               of the file
    latency_ms          of one image, the median
    images_per_second   in batches of 32, of large images of as many as fit into 2 GiB
    """

    runtime: str
    max_abs: float
    relative: float
    relative_resized: float
    argmax_agreement: float
    top1: float | None
    top1_interval: tuple[float, float] | None
    bytes: int
    latency_ms: float
    images_per_second: float


@dataclass(frozen=True)
class Exported:
    """A file for other runtimes, and what it is worth there.

    out, precision      where it is, and what it computes in; of a model file what it stores
    images              that judged it; 0 without data
    top1_source         share of them that the network gets right in float32, and
    top1_exported       the file, in the runtime that does worst; both None without data
    floats              int8: convolutions that stayed float
    table               in each installed runtime that reads it
    written             whether the file is there; if it is not, `why`
    """

    out: str
    precision: str
    images: int = 0
    top1_source: float | None = None
    top1_exported: float | None = None
    floats: tuple[str, ...] = ()
    written: bool = True
    table: tuple[InRuntime, ...] = ()
    why: str = ""

    @classmethod
    def refused(cls, out: str | Path, precision: str, why: ExportError) -> Exported:
        """Of a file that was not written."""
        return cls(str(out), precision, written=False, why=str(why))

    def document(self) -> dict[str, Any]:
        """What a program reads, ready for JSON."""
        told = {**vars(self), "floats": list(self.floats), "table": [vars(row).copy() for row in self.table]}
        for name in ("why",) if self.written else ("images", "floats"):
            del told[name]
        return told


def export(
    model: str | Path | Model | Classifier,
    out: str | Path,
    *,
    precision: str = "float32",
    data: str | Path | None = None,
    max_drop: float = MAX_DROP,
    raw: bool = False,
) -> Exported:
    """Write a model as a file for other runtimes, if it is as good there.

    model       a classifier, a model, or whatever `resnets.load` takes
    out         .onnx, .xml (OpenVINO), .pt2 (torch.export) or our own .safetensors; what stood there is replaced by a
                good file only
    precision   "float32", "bfloat16", or "int8", which needs `data`; for .safetensors "float32" or "float16"
    data        images whose classes are known: the training ones calibrate, the held-out ones judge
    max_drop    points of top-1 that the file may lose on them, in any installed runtime, against the network in float32
    raw         a graph without preprocessing and softmax; the metadata stays

    Raises ExportError when the file is refused, DataError and ResnetsError for what cannot be.
    """
    out = Path(out)
    check_place(out, precision, raw)
    if not 0 <= max_drop <= 100:
        raise ParameterError(f"`max_drop` is a number of points from 0 to 100, not {max_drop!r}.")
    if precision == "int8" and data is None:
        raise DataError("int8 needs images to calibrate and to judge it with: give them with `data=DATA`.")
    if isinstance(model, str | Path):
        _check_source(model, out)
    classifier = as_classifier(model)
    gate = _Gate(classifier, out, precision, data, max_drop, raw)
    quantisation = None
    if precision == "int8":
        assert gate.photos is not None
        quantisation, table = first_good(attempts(classifier, gate.photos), gate.written)
    else:
        table = gate.written()
    return Exported(
        out=str(out),
        precision=precision,
        images=len(gate.photos.labels) if gate.photos else 0,
        top1_source=gate.source,
        top1_exported=min(row.top1 for row in table if row.top1 is not None) if gate.photos else None,
        floats=tuple(sorted(quantisation.floats)) if quantisation else (),
        table=table,
    )


def _check_source(model: str | Path, out: Path) -> None:
    """Raise DataError where the file would take the place of what it is made of."""
    path, _ = located(model)
    if without_model(path):
        return  # `load` says it better
    sources = [own] if (own := own_file(path)) else open_file(path).files
    for place in (out, out.with_suffix(".bin")) if out.suffix == ".xml" else (out,):
        if place.exists() and any(source.exists() and place.samefile(source) for source in sources):
            raise DataError(f"{printable(str(place))} is what is to be exported: choose another place.")


class _Gate:
    """Writes a file, unless it loses more than it may."""

    def __init__(
        self, classifier: Classifier, out: Path, precision: str, data: str | Path | None, max_drop: float, raw: bool
    ) -> None:
        self.classifier, self.out, self.precision, self.max_drop, self.raw = classifier, out, precision, max_drop, raw
        self.photos: Examples | None = None
        self.source: float | None = None
        if data is not None:
            self.photos = examples(classifier, data)
            self.source = self.photos.top1_source(classifier)

    def written(self, quantisation: Quantisation | None = None) -> tuple[InRuntime, ...]:
        """The table of a file that is written. Raises `AccuracyError`, and writes nothing, when it loses too much."""
        rows: list[dict[str, Any]] = []

        def accept(opened: list[Opened], size: int) -> None:
            rows.extend(self._row(one, size) for one in opened)

        found = write(
            self.out,
            self.classifier,
            precision=self.precision,
            quantisation=quantisation,
            raw=self.raw,
            accept=accept,
        )
        return tuple(InRuntime(**one, **more) for one, more in zip(found, rows, strict=True))

    def _row(self, opened: Opened, size: int) -> dict[str, Any]:
        """Accuracy and speed in one runtime."""
        top1 = None
        if self.photos is not None and self.source is not None:
            top1 = self.photos.top1(opened.logits, f"judging {self.precision} in {opened.runtime}")
            Verdict(len(self.photos.labels), self.source, top1).check(self.max_drop)
        side = self.classifier.preprocessing.image_size
        few = at_once(self.classifier.network, side, BATCH)
        pixels = np.random.default_rng(0).integers(0, 256, (few, side, side, 3), dtype=np.uint8)
        return {
            "top1": top1,
            "top1_interval": None if top1 is None or not self.photos else interval(top1, len(self.photos.labels)),
            "bytes": size,
            "latency_ms": 1000 * _seconds(opened, pixels[:1]),
            "images_per_second": few / _seconds(opened, pixels),
        }


def _seconds(opened: Opened, pixels: np.ndarray) -> float:
    """Of one call: the median of as many as fit into a second, after one that does not count."""
    opened.logits(pixels)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        opened.logits(pixels)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
