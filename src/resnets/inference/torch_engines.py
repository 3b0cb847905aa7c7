"""The engines that torch alone runs: its fused kernels, torch.compile, and recorded launches on a GPU."""

from __future__ import annotations

import copy
import os
import shutil
import sys

import torch
from torch import Tensor, nn

from resnets.errors import ResnetsError
from resnets.inference.fused import Fused, fused_operators
from resnets.inference.int8 import Quantised
from resnets.inference.lower import Graph
from resnets.inference.quantize import Quantisation
from resnets.inference.runner import DTYPES, Runner
from resnets.network import ResNet
from resnets.progress import say

MOST_CAPTURED = 4  # shapes of batches for which a GPU keeps a recorded run
MOST_COMPILED = 64  # variants that torch may compile in one process before it silently stops compiling


class TorchEngine:
    """The engine "torch": the fastest way in which torch alone runs a graph here.

    precision   "float32", "bfloat16", or "int8" with its quantisation (see `inference.quantize`)
    batch       how many images usually come at once

    The graph's weights must lie on the processor. Says so on standard error where only plain operators are left.
    """

    name = "torch"

    def __init__(
        self, graph: Graph, precision: str = "float32", batch: int = 8, quantisation: Quantisation | None = None
    ) -> None:
        self.precision, self.quantisation = precision, quantisation
        self._run: Runner
        if precision == "int8":
            assert quantisation is not None
            self._run = Quantised(graph, quantisation, batch)
        elif fused_operators(DTYPES[precision]):
            self._run = Fused(graph, DTYPES[precision], batch)
        else:
            say(f"This torch fuses no convolutions in {precision} here: plain ones give the same result, more slowly.")
            self._run = Runner(graph, DTYPES[precision])

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float32, normalised -> logits (N, classes) float32."""
        return self._run(x)


class CompiledEngine:
    """The engine "compiled": torch.compile with frozen weights; the first call takes ten seconds and more.

    It is compiled for batches of exactly `batch` images, once for each image size: a smaller batch is filled up, a
    larger one is split. Raises ResnetsError where there is no C++ compiler.
    """

    name = "compiled"
    quantisation: Quantisation | None = None

    def __init__(self, network: ResNet, precision: str = "float32", batch: int = 8) -> None:
        if not compiler():
            raise ResnetsError("The engine compiled needs a C++ compiler (g++ or clang++): install one, or set CXX.")
        self.precision, self.batch = precision, batch
        self.device = next(network.parameters()).device
        own = copy.deepcopy(network).eval().requires_grad_(False)
        own.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run = torch.compile(own, dynamic=False)
        self._held = torch.empty(0)

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch."""
        return torch.cat([self._one(part) for part in torch.split(x, self.batch)])

    def _one(self, x: Tensor) -> Tensor:
        # One tensor for all calls: another memory layout, or a tensor of another mode, would be compiled again.
        shape = (self.batch, *x.shape[1:])
        if self._held.shape != shape:
            self._held = torch.zeros(shape, device=self.device).contiguous(memory_format=torch.channels_last)
        self._held[: len(x)].copy_(x)
        # `freezing` among torch.compile's own options does nothing; it counts where the compiling happens, here.
        with (
            torch._inductor.config.patch(freezing=True),
            torch._dynamo.config.patch(recompile_limit=MOST_COMPILED),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"),
        ):
            logits: Tensor = self._run(self._held)
        return logits[: len(x)].float().cpu()


class CapturedEngine:
    """The engine "torch" on a GPU: channels_last, and one recorded launch of all kernels for each shape of a batch.

    Convolutions are computed in `precision`, norms and the head in float32; float32 is never shortened to TF32.
    Its speed has not been measured.
    """

    name = "torch"
    quantisation: Quantisation | None = None

    def __init__(self, network: ResNet, precision: str = "float32") -> None:
        self.precision = precision
        self.device = next(network.parameters()).device
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(self.dtype)
            elif isinstance(module, nn.Linear):
                module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._captured: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch."""
        if x.shape not in self._captured:
            if len(self._captured) == MOST_CAPTURED:
                self._captured.pop(next(iter(self._captured)))
            self._captured[x.shape] = self._capture(x.shape)
        graph, held, logits = self._captured[x.shape]
        held.copy_(x)
        graph.replay()
        return logits.float().cpu()

    def _capture(self, shape: torch.Size) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        held = torch.zeros(shape, dtype=self.dtype, device=self.device).contiguous(memory_format=torch.channels_last)
        graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
            torch.autocast("cuda", enabled=False),  # the caller's would be recorded
        ):
            aside.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(aside):  # the first runs choose kernels and take memory, which a recording must not
                for _ in range(3):
                    self.network(held)
            torch.cuda.current_stream(self.device).wait_stream(aside)
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may use the device meanwhile
                logits = self.network(held)
        return graph, held, logits


def compiler() -> str | None:
    """The C++ compiler that torch.compile would call."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual))
