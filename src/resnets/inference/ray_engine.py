"""`bulk.predict_files` over a cluster: Ray Data hands blocks of paths to actors, each of which holds the model.

The cluster is the one that RAY_ADDRESS names, or this machine. Model and pictures are read where the actors run, so a
cluster of several machines needs them under the same paths. Ray Data itself holds back what is not yet called for,
starts an actor that died again, and gives its block to another: rows come in any order, and none is missing.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnets.errors import DataError
from resnets.inference.bulk import predict_files as predict_here
from resnets.inference.pictures import BATCH
from resnets.inference.prediction import Outcome
from resnets.inference.session import open_session
from resnets.inference.verbs import load
from resnets.machine import cores, needs
from resnets.progress import say

if TYPE_CHECKING:
    from resnets.inference.quantize import Quantisation

BLOCK = 8 * BATCH  # paths that an actor is given at once, and that are done again when it dies


def predict_files(
    model: str,
    files: Sequence[str | bytes],
    top: int = 5,
    *,
    fast: bool = False,
    precision: str = "float32",
    quantisation: Quantisation | None = None,
) -> Iterator[Outcome]:
    """One `Outcome` for each file, in the order in which they are done.

    model   what `resnets.load` takes; every actor loads it once
    others  as in `bulk.predict_files` and `engines.make`

    Raises ResnetsError without Ray, and DataError for a picture that is no file.
    """
    if not all(isinstance(file, str) for file in files):
        raise DataError("`engine='ray'` reads files where its actors run: name the picture, do not send it through -.")
    if not files:
        return
    ray = needs("ray", extra="ray")
    started = not ray.is_initialized()
    if started:
        machine = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "num_cpus": cores()}
        # Its remarks are about its own business; what goes wrong arrives as an exception.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **machine)
    try:
        place = os.path.abspath(model) if os.path.exists(model) else model
        yield from _rows(ray, [os.fsencode(file) for file in files], (place, top, fast, precision, quantisation))
    finally:
        if started:
            ray.shutdown()


def _rows(ray: Any, names: list[bytes], how: tuple[Any, ...]) -> Iterator[Outcome]:
    data, arrow = needs("ray.data", extra="ray"), needs("pyarrow", extra="ray")
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    actors = min(int(ray.cluster_resources()["CPU"]), math.ceil(len(names) / BATCH))
    say(f"engine ray, {actors} actors of one core each: torch, {how[3]}")
    size = min(BLOCK, math.ceil(len(names) / actors))
    blocks = [arrow.table({"name": names[first : first + size]}) for first in range(0, len(names), size)]
    done = data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(os.getcwd(), *how),
        compute=data.ActorPoolStrategy(size=actors),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
    )
    batches = iter(done.iter_batches(batch_size=None, batch_format="pyarrow"))
    while True:
        # On standard output, where results go, Ray would tell of every worker that died.
        with redirect_stdout(sys.stderr):
            batch = next(batches, None)
        if batch is None:
            return
        for row in batch["row"]:
            yield pickle.loads(row.as_py())


class _Actor:
    """A process of the cluster that holds the model, loaded once."""

    def __init__(
        self, folder: str, model: str, top: int, fast: bool, precision: str, quantisation: Quantisation | None
    ) -> None:
        import torch

        torch.set_num_threads(1)
        self.folder, self.top, self.fast = folder, top, fast
        self.classifier = load(model)
        judged = {"torch": quantisation} if quantisation else None
        self.classifier.use(open_session(self.classifier.model, "torch", precision, batch=BATCH, quantisations=judged))

    def __call__(self, block: Any) -> Any:
        """Names of files, relative to the folder of the one who asks -> their rows, pickled."""
        names = [os.fsdecode(name) for name in block["name"].to_pylist()]
        places = [os.path.join(self.folder, name) for name in names]
        rows = predict_here(self.classifier, places, self.top, fast=self.fast, threads=1)
        named = (replace(row, path=name) for name, row in zip(names, rows, strict=True))
        return needs("pyarrow", extra="ray").table({"row": [pickle.dumps(row) for row in named]})
