"""The engines of other runtimes, which are given our ONNX graph in memory; a missing one is answered with its install.

threads     how many an engine works with. Default: one for each core
"""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import Tensor

from resnets.architecture.rows import INPUT
from resnets.inference.lower import OUTPUT, Graph
from resnets.inference.quantize import Quantisation
from resnets.machine import cores, needs, openvino_core


class OnnxRuntimeEngine:
    """The engine "onnxruntime": our ONNX graph, in memory. Raises ResnetsError where the packages are missing."""

    name = "onnxruntime"

    def __init__(
        self,
        graph: Graph,
        precision: str = "float32",
        quantisation: Quantisation | None = None,
        threads: int | None = None,
    ) -> None:
        runtime = needs("onnxruntime", extra="export")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
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
        self,
        graph: Graph,
        precision: str = "float32",
        quantisation: Quantisation | None = None,
        batch: int = 8,
        threads: int | None = None,
    ) -> None:
        self.precision, self.quantisation = precision, quantisation
        self.threads = threads or cores()
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
        compiled = core.compile_model(model, "CPU", {**options, "INFERENCE_NUM_THREADS": self.threads})
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
