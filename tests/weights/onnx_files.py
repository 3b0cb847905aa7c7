"""ONNX files made by torch's own exporter, of any module; and graphs put together node by node."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SIDE = 40


def export(module: nn.Module, path: Path, *, folds: bool, moves: bool = True, side: int = SIDE) -> Path:
    """A module in evaluation mode as its exporter (TorchScript's) writes it.

    folds   whether norms are folded into the convolutions before them
    moves   whether the number of pictures and their size stay open
    """
    mode = torch.onnx.TrainingMode.EVAL if folds else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one
        torch.onnx.export(
            module.eval(),
            (torch.randn(1, first_of(module), side, side),),
            str(path),
            dynamo=False,
            training=mode,
            do_constant_folding=folds,
            input_names=["pictures"],
            dynamic_axes={"pictures": {0: "n", 2: "h", 3: "w"}} if moves else None,
            opset_version=17,
        )
    return path


def first_of(module: nn.Module) -> int:
    """The channels that a network's first convolution reads."""
    return next(layer.in_channels for layer in module.modules() if isinstance(layer, nn.Conv2d))


def logits(path: Path, x: torch.Tensor) -> np.ndarray:
    """What ONNX Runtime makes of pictures."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return session.run(None, {entry.name: x.numpy()})[0]


def graph_of(nodes, tensors, shape=("n", 3, 40, 40), outputs=("y",)):
    """A model of nodes, made by hand."""
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    wanted = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "net", [given], wanted, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op, *names, **attributes):
    *inputs, output = names
    return helper.make_node(op, inputs, [output], name=f"n_{output}", **attributes)


def keras_like(width):
    """(nodes, tensors) as Keras' exporter writes a network: channels last, norms as factors and terms, zeros around."""
    random, wide = np.random.default_rng(0), 2 * width

    def normal(*shape, scale=0.2):
        return (scale * random.standard_normal(shape)).astype(np.float32)

    def factors(name, channels):
        tensors[f"{name}.m"], tensors[f"{name}.a"] = 1 + normal(1, channels, 1, 1), normal(channels, 1, 1)

    tensors = {
        "w0": normal(width, 3, 7, 7), "w1": normal(wide, width, 3, 3), "b1": normal(wide),
        "w2": normal(wide, wide, 3, 3), "w3": normal(wide, width, 1, 1), "b3": normal(wide),
        "fc": normal(wide, 5), "fb": normal(5),
        "stem_pads": np.array([0, 3, 3, 0, 0, 3, 3, 0]), "pool_pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }  # fmt: skip
    factors("p1", width)
    factors("post", wide)
    nodes = [
        node("Pad", "x", "stem_pads", "padded"),
        node("Transpose", "padded", "first", perm=[0, 3, 1, 2]),
        node("Conv", "first", "w0", "stem", strides=[2, 2], kernel_shape=[7, 7]),
        node("Pad", "stem", "pool_pads", "stem_padded"),
        node("MaxPool", "stem_padded", "pooled", strides=[2, 2], kernel_shape=[3, 3]),
        node("Mul", "pooled", "p1.m", "scaled"),
        node("Add", "scaled", "p1.a", "normed"),
        node("Relu", "normed", "active"),
        node("Conv", "active", "w3", "b3", "short"),
        node("Conv", "active", "w1", "b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1", "w2", "c2", auto_pad="SAME_UPPER"),
        node("Add", "short", "c2", "sum"),
        node("Transpose", "sum", "last", perm=[0, 2, 3, 1]),
        node("Mul", "last", "post.m2", "post_scaled"),
        node("Add", "post_scaled", "post.a2", "post_normed"),
        node("Relu", "post_normed", "post_active"),
        node("ReduceMean", "post_active", "mean", axes=[1, 2], keepdims=0),
        node("MatMul", "mean", "fc", "product"),
        node("Add", "product", "fb", "scores"),
        node("Softmax", "scores", "y"),
    ]
    tensors["post.m2"], tensors["post.a2"] = tensors["post.m"].reshape(wide), tensors["post.a"].reshape(1, 1, 1, wide)
    return nodes, tensors
