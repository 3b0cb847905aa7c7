"""One interface to everything that can run a network: batches in, logits out.

Every engine starts from the same steps (`inference.lower`) or from the network itself, so that they differ in speed
and in rounding and in nothing else. Which of them is the fastest, `inference.choice` finds out.
"""

from __future__ import annotations

import copy
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from resnets.architecture.rows import INPUT
from resnets.errors import ResnetsError, nearest
from resnets.inference.lower import OUTPUT, Graph, lower
from resnets.machine import cores, needs, openvino_core
from resnets.network import ResNet

if TYPE_CHECKING:
    from resnets.inference.quantize import Quantisation

PRECISIONS = ("float32", "bfloat16", "int8")
MOST_CAPTURED = 4  # shapes of batches for which a GPU keeps a recorded run
MOST_COMPILED = 64  # variants that torch may compile in one process before it silently stops compiling


class Engine(Protocol):
    """Runs one network in one precision; called from one thread at a time.

    engine(x): x (N, C, H, W) float32, already normalised, in any memory layout, which is left as it is; any N >= 1.
    Returns logits (N, classes) float32 on the processor, before softmax, not divided by a temperature.
    """

    name: str
    precision: str
    quantisation: Quantisation | None

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch."""


class _Kind(NamedTuple):
    precisions: tuple[str, ...]
    modules: tuple[str, ...] = ()  # packages that the base install does not have


KINDS = {
    "torch": _Kind(PRECISIONS),
    "compiled": _Kind(("float32", "bfloat16")),
    "onnxruntime": _Kind(("float32", "int8"), ("onnx", "onnxruntime")),
    "openvino": _Kind(PRECISIONS, ("onnx", "openvino")),
}


def installed() -> list[str]:
    """The engines that can be used here: their packages are there, and the compiler that "compiled" needs."""
    there = [name for name, kind in KINDS.items() if all(find_spec(module) for module in kind.modules)]
    return [name for name in there if name != "compiled" or _compiler()]


def supported(name: str, precision: str) -> bool:
    """Whether an engine has a precision."""
    return name in KINDS and precision in KINDS[name].precisions


def check(name: str, precision: str) -> None:
    """Raises ResnetsError for an engine or a precision that there is not, and for one that the other does not have."""
    if name not in KINDS:
        raise ResnetsError(f"There is no engine {name!r}.{nearest(name, KINDS) or f' There are {_list(KINDS)}.'}")
    if precision not in PRECISIONS:
        hint = nearest(precision, PRECISIONS) or f" There are {_list(PRECISIONS)}."
        raise ResnetsError(f"There is no precision {precision!r}.{hint}")
    if not supported(name, precision):
        able = [other for other, kind in KINDS.items() if precision in kind.precisions]
        raise ResnetsError(f"The engine {name} does not compute in {precision}: {_list(able)} do.")


def make(
    name: str,
    network: ResNet,
    precision: str = "float32",
    *,
    image_size: int | None = None,
    batch: int = 8,
    quantisation: Quantisation | None = None,
) -> Engine:
    """The engine `name` for a network as it stands; what becomes of the network afterwards does not matter to it.

    precision     "float32", "bfloat16" or "int8"; the last needs its `quantisation` (see `inference.quantize`)
    image_size    side of the images that will usually come. Default: the network's own
    batch         how many images usually come at once; any other number works too

    Raises ResnetsError: there is no such engine, it does not have the precision, or something it needs is missing.
    """
    check(name, precision)
    if precision == "int8" and quantisation is None:
        raise ResnetsError("int8 needs a calibration: measure the ranges with resnets.inference.quantize first.")
    if name == "compiled":
        return CompiledEngine(network, precision, batch)
    if name == "torch" and precision != "int8" and next(network.parameters()).is_cuda:
        return CapturedEngine(network, precision)
    graph = lower(network, image_size)
    if name == "onnxruntime":
        return OnnxRuntimeEngine(graph, precision, quantisation)
    if name == "openvino":
        return OpenVinoEngine(graph, precision, quantisation, batch)
    from resnets.inference.fused import TorchEngine

    return TorchEngine(graph, precision, batch, quantisation)


class CompiledEngine:
    """The engine "compiled": torch.compile with frozen weights; the first call takes ten seconds and more.

    It is compiled for batches of exactly `batch` images, once for each image size: a smaller batch is filled up, a
    larger one is split. Raises ResnetsError where there is no C++ compiler.
    """

    name = "compiled"
    quantisation: Quantisation | None = None

    def __init__(self, network: ResNet, precision: str = "float32", batch: int = 8) -> None:
        if not _compiler():
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
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            aside.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(aside):  # the first runs choose kernels and take memory, which a recording must not
                for _ in range(3):
                    self.network(held)
            torch.cuda.current_stream(self.device).wait_stream(aside)
            with torch.cuda.graph(graph):
                logits = self.network(held)
        return graph, held, logits


class OnnxRuntimeEngine:
    """The engine "onnxruntime": our ONNX graph, in memory. Raises ResnetsError where the packages are missing."""

    name = "onnxruntime"

    def __init__(self, graph: Graph, precision: str = "float32", quantisation: Quantisation | None = None) -> None:
        runtime = needs("onnxruntime", extra="export")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3  # errors: its remarks are about its own business
        self.precision, self.quantisation = precision, quantisation
        data = _onnx(graph, precision, quantisation)
        self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch."""
        (logits,) = self._session.run([OUTPUT], {INPUT: x.detach().contiguous().numpy()})
        return torch.from_numpy(logits)


class OpenVinoEngine:
    """The engine "openvino": our ONNX graph, in memory. Raises ResnetsError where the packages are missing.

    It is compiled for batches of exactly `batch` images of the usual size, and once more, when the first other one
    comes, for all others.
    """

    name = "openvino"

    def __init__(
        self, graph: Graph, precision: str = "float32", quantisation: Quantisation | None = None, batch: int = 8
    ) -> None:
        self.precision, self.quantisation = precision, quantisation
        self._onnx = _onnx(graph, precision, quantisation)
        channels, height, width = graph.input_shape
        self._usual_shape = (batch, height, width, channels)
        self._usual = self._compiled(self._usual_shape)
        self._any: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one batch."""
        pixels = x.detach().permute(0, 2, 3, 1).contiguous()
        if pixels.shape == self._usual_shape:
            return self._usual(pixels)
        if self._any is None:
            self._any = self._compiled(None)
        return self._any(pixels)

    def _compiled(self, shape: tuple[int, ...] | None) -> Callable[[Tensor], Tensor]:
        vino = needs("openvino", extra="export")
        core = openvino_core()
        model = core.read_model(io.BytesIO(self._onnx))
        # Batches lie in channels_last, so that this is the layout that can be handed over without a copy.
        steps = vino.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_layout(vino.Layout("NHWC"))
        steps.input().model().set_layout(vino.Layout("NCHW"))
        model = steps.build()
        if shape is not None:
            model.reshape(list(shape))
        # Without the hint it would take bfloat16 by itself wherever the processor has it.
        hint = "bf16" if self.precision == "bfloat16" else "f32"
        # One request after the other, each with all cores: measured as fast for a batch of 32 as for a single image.
        options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        compiled = core.compile_model(model, "CPU", {**options, "INFERENCE_NUM_THREADS": cores()})
        request = compiled.create_infer_request()

        def run(pixels: Tensor) -> Tensor:
            request.set_input_tensor(vino.Tensor(pixels.numpy(), shared_memory=True))
            request.infer()
            return torch.from_numpy(request.get_output_tensor().data.copy())

        return run


def _onnx(graph: Graph, precision: str, quantisation: Quantisation | None) -> bytes:
    """The bytes of our ONNX model: (N, C, H, W) float32 -> logits. A runtime itself turns float32 into bfloat16."""
    needs("onnx", extra="export")
    from resnets.inference.onnx_graph import model

    stored = "int8" if precision == "int8" else "float32"
    made = model(graph, precision=stored, quantisation=quantisation)
    return bytes(made.SerializeToString())


def _compiler() -> str | None:
    """The C++ compiler that torch.compile would call."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual))


def _list(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
