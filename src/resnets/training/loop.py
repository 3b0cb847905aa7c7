"""The loop: batch, step, log, evaluate, checkpoint.

The state of a training is the network, the momentum, the average and the number of the step; everything else
(order, augmentation, rate, image size) is a function of the step. That is what makes a resume exact.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.architecture import Plan
from resnets.data.augment import Augmentation, mix
from resnets.data.batches import Batch, Loader
from resnets.data.preprocess import Preprocessing
from resnets.errors import TrainingError
from resnets.network import ResNet
from resnets.progress import Tracker, say, track, warn
from resnets.text import printable
from resnets.training.checkpoint import load_checkpoint, save_checkpoint
from resnets.training.log import NAME as LOG
from resnets.training.log import Log, read_log
from resnets.training.optim import Average, optimiser, rate
from resnets.training.recipe import Recipe

GROWN = 0.7  # share of the epochs after which a growing image has reached its full size
READ_BACK = 20  # on a GPU, steps between two looks at the losses: each look waits for the device
EVALUATION_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained on what: all that `Training` needs beside the network.

    keys are the names of the training images, for messages; held_out is (images, labels), as in `Loader`.
    """

    recipe: Recipe
    epochs: int
    seed: int
    device: str
    precision: str
    folder: Path
    preprocessing: Preprocessing
    augmentation: Augmentation
    images: np.ndarray
    labels: np.ndarray
    keys: list[str]
    held_out: tuple[np.ndarray, np.ndarray]


def memory_format(plan: Plan) -> torch.memory_format:
    """channels_last, which is 1.2 to 1.4 times as fast on a processor, except where it is not safe.

    Measured with torch 2.13.0 on AVX-512, float32: the backward pass of a strided 1x1 convolution from fewer than 16
    channels writes outside its memory when the batch is odd. No network of the catalog has one.
    """
    narrow = any(r.kind == "conv" and r.kernel == 1 and r.stride > 1 and r.in_channels < 16 for r in plan.rows)
    return torch.contiguous_format if narrow else torch.channels_last


class Training:
    """A training in progress."""

    def __init__(self, network: ResNet, job: Job) -> None:
        self.job, self.recipe = job, job.recipe
        self.layout = memory_format(network.plan)
        self.network = network.to(job.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimiser = optimiser(network, job.recipe)
        self.average = Average(network, job.recipe.ema) if job.recipe.ema else None
        self.loader = Loader(job.images, job.labels, job.recipe.batch_size, job.seed, job.recipe.workers)
        self.total = job.epochs * self.loader.steps
        self.step = 0
        self.seconds = 0.0  # of training so far, earlier parts of a resumed run included
        self._pending: list[tuple[int, Tensor, float, float]] = []
        self._judge = copy.deepcopy(network) if self.average else network

    def run(self, resume: bool) -> None:
        """Train to the end, from the start or from the folder's checkpoint.

        Raises TrainingError when the loss is no longer finite.
        """
        keep = None
        if resume:
            state = load_checkpoint(self.job.folder, self.network, self.optimiser, self.average)
            self.step, self.seconds, keep = state["step"], state["seconds"], state["log"]
        self._log = Log(self.job.folder, keep, self.step)
        self._began = self._saved = time.perf_counter()
        size = self.loader.batch_size
        try:
            if not resume:
                self._checkpoint()
            with track("training", self.total * size, done=self.step * size) as tracker:
                while self.step < self.total:
                    self._epoch(tracker)
        except torch.OutOfMemoryError as problem:
            raise TrainingError(
                f"A batch of {size} does not fit into memory: try `overrides=['batch_size={max(2, size // 2)}']`, "
                "or a smaller `image_size`."
            ) from problem
        except KeyboardInterrupt:
            # It may have come in the middle of a step, so what is in memory is not saved: the last checkpoint is whole.
            say(f"Go on with: resnets train --resume {self.job.folder}")
            raise
        finally:
            self._log.close()

    @property
    def result(self) -> ResNet:
        """The trained network: the average where there is one. In evaluation mode."""
        if self.average is not None:
            self._judge.load_state_dict(self.average.state)
        return self._judge.eval()

    def image_size(self, epoch: int) -> int:
        """The side of the training images in an epoch: it grows from start_size to the full size."""
        full = self.job.preprocessing.image_size
        share = min(1.0, epoch / max(1.0, GROWN * self.job.epochs))
        size = full * (self.recipe.start_size + (1 - self.recipe.start_size) * share)
        step = 16 if full >= 96 else 4
        return full if self.recipe.start_size == 1 else min(full, max(step, round(size / step) * step))

    def _epoch(self, tracker: Tracker) -> None:
        epoch, start = divmod(self.step, self.loader.steps)
        self._freeze(epoch < self.recipe.head_epochs)
        size = self.image_size(epoch)
        began, losses, waited = time.perf_counter(), [], 0.0
        previous = began
        for batch in self.loader.epoch(epoch, start):
            loss = self._one(batch, size)
            now = time.perf_counter()
            self._pending.append((self.step, loss, now - previous, batch.waited))
            previous = now
            self.step += 1
            waited += batch.waited
            if self.job.device == "cpu" or len(self._pending) >= READ_BACK or batch.step == self.loader.steps - 1:
                losses += self._read_back(epoch)
            pace = (batch.step - start + 1) * self.loader.batch_size / (now - began)
            waiting = f"{waited / (now - began):.0%} waiting for data"
            tracker(self.loader.batch_size, f"epoch {epoch + 1}/{self.job.epochs}, {pace:.0f} images/s, {waiting}")
            if now - self._saved >= self.recipe.checkpoint_seconds and batch.step < self.loader.steps - 1:
                losses += self._read_back(epoch)
                self._checkpoint()
        seconds = time.perf_counter() - began
        if start:  # the steps before the resume count too
            self._log.position()
            lines = read_log(self.job.folder / LOG)
            losses = [line["loss"] for line in lines if line["kind"] == "step" and line["epoch"] == epoch + 1]
        record: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": float(np.mean(losses)),
            "image_size": size,
            "seconds": seconds,
            "images_per_second": (self.loader.steps - start) * self.loader.batch_size / seconds,
            "waiting": waited / seconds,
        }
        line = f"epoch {epoch + 1}/{self.job.epochs}: loss {record['loss']:.3f}"
        if (epoch + 1) % self.recipe.evaluate_every == 0 or epoch + 1 == self.job.epochs:
            record["top1"], record["held_out_loss"] = self.evaluate()
            line += f", held-out top-1 {record['top1']:.2%}"
        tracker.say(f"{line}, {record['images_per_second']:.0f} images/s, {record['waiting']:.0%} waiting for data")
        self._log.write("epoch", step=self.step, **record)
        self._checkpoint()

    def _one(self, batch: Batch, size: int) -> Tensor:
        """One step of gradient descent; returns the loss, still on the device."""
        job, recipe = self.job, self.recipe
        images, dice, labels = (t.to(job.device, non_blocking=True) for t in (batch.images, batch.dice, batch.labels))
        x = job.augmentation(images, dice, size, job.preprocessing).contiguous(memory_format=self.layout)
        share = None
        if recipe.mixup:
            x, share = mix(x, dice, recipe.mixup)
        with torch.autocast(job.device, torch.bfloat16, enabled=job.precision == "bfloat16"):
            logits = self.network(x)
        loss = self._loss(logits.float(), labels, share)
        loss.backward()  # type: ignore[no-untyped-call]
        now = rate(recipe, self.step, self.total, self.loader.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = now * group["scale"]
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.step)
        return loss.detach()

    def _loss(self, logits: Tensor, labels: Tensor, share: Tensor | None) -> Tensor:
        smoothing = self.recipe.label_smoothing
        if share is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        own = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        other = F.cross_entropy(logits, labels.roll(1), label_smoothing=smoothing, reduction="none")
        return torch.lerp(other, own, share).mean()

    def _freeze(self, frozen: bool) -> None:
        """Train the head alone (the body's norms keep their statistics too), or everything."""
        self.network.train(not frozen)
        self.network.head.train()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith("head."))

    def _read_back(self, epoch: int) -> list[float]:
        """Log the losses since the last look and return them."""
        losses: list[float] = torch.stack([loss for _, loss, _, _ in self._pending]).tolist() if self._pending else []
        for (step, _, seconds, waited), loss in zip(self._pending, losses, strict=True):
            if not np.isfinite(loss):
                self._stop(epoch, step, loss)
            self._log.write(
                "step",
                step=step,
                epoch=epoch + 1,
                loss=loss,
                rate=rate(self.recipe, step, self.total, self.loader.steps),
                seconds=seconds,
                waited=waited,
            )
        self._pending.clear()
        return losses

    def _stop(self, epoch: int, step: int, loss: float) -> None:
        """Say which step and which files, and what to try."""
        chosen = self.loader.indices(epoch, step % self.loader.steps)
        files = [printable(self.job.keys[i]) for i in chosen]
        listing = self.job.folder / "not-finite.txt"
        listing.write_text("\n".join(files) + "\n", encoding="utf-8")
        raise TrainingError(
            f"The loss is {loss} at step {step} (epoch {epoch + 1}), on a batch of {len(files)} files from "
            f"{files[0]} to {files[-1]}, all listed in {listing}. Usually the learning rate is too high: try "
            f"`overrides=['learning_rate={self.recipe.learning_rate / 4:g}']`, or `overrides=['precision=float32']`."
        )

    def _checkpoint(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self._began
        self._began = self._saved = now
        try:
            state = {"step": self.step, "seconds": self.seconds, "log": self._log.position()}
            save_checkpoint(self.job.folder, self.network, self.optimiser, self.average, state)
        except OSError as problem:
            # The work goes on: the checkpoint before this one is whole, and space may come back.
            warn(f"no checkpoint at step {self.step}: {problem}; the last one stays.")

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """(top-1, loss) on the held-out images in the training's precision: a quick look between epochs."""
        network = self.result
        images, labels = self.job.held_out
        right, loss = 0, 0.0
        for first in range(0, len(images), EVALUATION_BATCH):
            pixels = torch.from_numpy(np.array(images[first : first + EVALUATION_BATCH])).to(self.job.device)
            wanted = torch.from_numpy(labels[first : first + EVALUATION_BATCH]).to(self.job.device)
            with torch.autocast(self.job.device, torch.bfloat16, enabled=self.job.precision == "bfloat16"):
                logits = network(self.job.preprocessing.normalise(pixels)).float()
            right += int((logits.argmax(1) == wanted).sum())
            loss += float(F.cross_entropy(logits, wanted, reduction="sum"))
        network.train()
        return right / len(images), loss / len(images)
