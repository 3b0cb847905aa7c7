"""keras.applications' ResNet and ResNetV2 (keras/applications/resnet.py), and what was fine-tuned from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec, plan
from resnets.architecture.catalog import CATALOG, same_network
from resnets.architecture.catalog import names as catalog_names
from resnets.data.preprocess import MAX_SIZE, Preprocessing
from resnets.errors import ModelFileError
from resnets.weights.formats.stored import Foreign, Stored, unusable
from resnets.weights.worlds.base import Dialect, Naming, Part, norm_first
from resnets.weights.worlds.keras import early
from resnets.weights.worlds.keras.config import PROBABLE, KerasLayer, compare, layers
from resnets.weights.worlds.keras.writer import VARIABLES, numbered, write_keras

# The layer of each part, and that of zeros (.pad) before some. What stands in both versions:
BOTH = {
    "stem.conv.pad": "conv1_pad",
    "stem.conv": "conv1_conv",
    "stem.pool.pad": "pool1_pad",
    "stem.pool": "pool1_pool",
    **{f"conv{n}": f"{n}_conv" for n in (1, 2, 3)},
    "shortcut.conv": "0_conv",
    "head.pool": "avg_pool",
    "head.linear": "predictions",
}
V1 = {
    **BOTH,
    "stem.norm": "conv1_bn",
    "stem.relu": "conv1_relu",
    **{f"norm{n}": f"{n}_bn" for n in (1, 2, 3)},
    **{f"relu{n}": f"{n}_relu" for n in (1, 2)},
    "shortcut.norm": "0_bn",
    "add": "add",
    "relu3": "out",
}
V2 = {  # a norm belongs to the convolution before it, as in v1
    **BOTH,
    "norm1": "preact_bn",
    "norm2": "1_bn",
    "norm3": "2_bn",
    "relu1": "preact_relu",
    "relu2": "1_relu",
    "relu3": "2_relu",
    "conv2.pad": "2_pad",
    "add": "out",
    "head.norm": "post_bn",
    "head.relu": "post_relu",
}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
LAYER = {"weight": "kernel", "bias": "bias"}

GROUPS = {  # of a class of layers in a file
    "InputLayer": "input_layer",
    "ZeroPadding2D": "zero_padding2d",
    "Conv2D": "conv2d",
    "BatchNormalization": "batch_normalization",
    "Activation": "activation",
    "MaxPooling2D": "max_pooling2d",
    "Add": "add",
    "GlobalAveragePooling2D": "global_average_pooling2d",
    "Dense": "dense",
}


class Keras(Dialect):
    """Weights and models of keras.applications, as Keras 2 and 3 save them."""

    name: ClassVar = "keras"
    containers: ClassVar = ("keras",)
    framework: ClassVar = "Keras"
    orders: ClassVar = ("post", "pre")
    transposed: ClassVar = True

    def prepare(self, file: Foreign) -> Foreign:
        """Without the counters of layers that draw random numbers, and with the names that files of Keras 3.0 lack.

        Files of Keras' first ResNet-50 come under the names of today.
        """
        try:
            file = early.renamed(file)
        except RecursionError as problem:
            raise unusable(file.path, "its configuration has models in models without an end") from problem
        kinds = [kind for kind, _ in _settings(file)]
        if "early" in file.documents and kinds.count("ZeroPadding2D") == 1:  # that before the first convolution
            file = replace(file, documents={**file.documents, "early": early.BARE})
        floats = {name: t for name, t in file.tensors.items() if t.dtype.is_floating_point}
        owners = {name.partition("/")[0] for name in floats}
        return replace(file, tensors=_with_names(file, floats, owners) if "conv2d" in owners else floats)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """That of v1 or of v2, and the head under whatever name it has."""
        dense = (name for name, t in file.tensors.items() if len(t.shape) == 2 and name.endswith("/kernel"))
        head = next(dense, "predictions/kernel").removesuffix("/kernel")
        return [_naming({**(V2 if _is_v2(file) else V1), "head.linear": head})]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """The rules of keras.applications, and the norms' numbers where a configuration states them."""
        norms = [s for kind, s in _settings(file) if kind == "BatchNormalization"]
        pool = file.documents.get("early", "zero")
        usual = early.EPSILON if "early" in file.documents else 1.001e-5
        epsilon = _same(file, norms, "epsilon", 1e-3) if norms else usual
        momentum = _same(file, norms, "momentum", 0.99) if norms else 0.99
        fields = {"pool_padding": pool, "norm_eps": epsilon, "norm_momentum": round(1 - momentum, 9)}
        if _is_v2(file):
            return fields | {"order": "pre", "stride_unit": "last", "bias": "unnormed"}
        return fields | {"order": "post", "stride_conv": "first", "bias": "always"}

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """The configuration, where there is one, must describe the plan's network."""
        if "keras" in file.documents:
            if not builds(plan.spec) and "early" not in file.documents:
                raise unusable(
                    file.path, "it has a configuration, but its weights are none of keras.applications' ResNets"
                )
            graph = _graph(plan)
            outputs: tuple[str, ...] = PROBABLE
            if "head.linear.weight" not in names:  # include_top=False, with and without pooling="avg"
                outputs = (BOTH["head.pool"], *next(layer.reads for layer in graph if layer.name == BOTH["head.pool"]))
            compare(file.path, file.documents["keras"], graph, outputs, binary=plan.num_classes == 1)

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """v1: BGR of 0..255 less ImageNet's mean, v2: RGB of -1..1 (`preprocess_input` of each)."""
        sizes = [_side(settings) for kind, settings in _settings(file) if kind == "InputLayer"]
        size = next(filter(None, sizes), 224)
        heads = [t.shape[1] for t in file.tensors.values() if len(t.shape) == 2]
        return usual(size, v2=_is_v2(file), published=not heads or 1000 in heads)  # without a head, too

    def states(self, file: Foreign) -> Mapping[str, str]:
        """A model file has its configuration, a file of weights has none."""
        return {"graph": "its configuration"} if "keras" in file.documents else {}

    def naming(self, plan: Plan) -> Naming:
        """As keras.applications names its layers. Raises ModelFileError for a network that it does not build."""
        if not builds(plan.spec):
            raise ModelFileError(
                "keras.applications has bottleneck networks with rules of its own only, which are the keras_* "
                "networks of the catalog; choose another `target_dialect`."
            )
        return _naming(_parts(plan))

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """One file, for `load_weights` of the network that keras.applications builds."""
        if path.suffix != ".h5":
            raise ModelFileError(
                f"{path} does not end in .weights.h5 (Keras 3) or .h5 (Keras 2), which Keras insists on."
            )
        write_keras(path, list(_layers(plan)), file.tensors)
        return (path,)


def usual(size: int, *, v2: bool, published: bool) -> Preprocessing:
    """How keras.applications prepares pictures of a side. published: for weights of its own, or others'."""
    # keras.applications says only "224 x 224". Its weights for ImageNet were trained and measured elsewhere, on
    # the centre of pictures whose shorter side was 256; those of its users on what Keras's own loaders
    # (image_dataset_from_directory, load_img) give, which stretch a picture to the size of the input.
    resize: dict[str, Any] = (
        {"resize_to": round(size * 256 / 224)} if published else {"resize_to": size, "resize": "stretch"}
    )
    if v2:
        half = (0.5, 0.5, 0.5)
        return Preprocessing(image_size=size, mean=half, std=half, **resize)
    blue, green, red = (value / 255 for value in (103.939, 116.779, 123.68))
    unit = 1 / 255
    return Preprocessing(image_size=size, channels="BGR", mean=(blue, green, red), std=(unit, unit, unit), **resize)


def _with_names(file: Foreign, tensors: Mapping[str, Stored], owners: set[str]) -> dict[str, Stored]:
    """The tensors of a file that knows its layers by class and number only, as Keras before 3.4 saves weights."""
    for network in catalog_names("keras_*"):
        known = {group: name for group, kind, name in numbered(_layers(plan(network))) if kind in VARIABLES}
        if known.keys() in (
            owners,
            owners | {"dense"},
        ):  # how many there are tells the network; all shapes are compared with it later
            parts = ((name.partition("/"), stored) for name, stored in tensors.items())
            return {f"{known[layer]}/{variable}": stored for (layer, _, variable), stored in parts}
    raise unusable(
        file.path,
        "it numbers its layers (conv2d, conv2d_1, ...) instead of naming them, and is none of keras.applications' "
        "networks; save the model as .keras, or its weights with Keras 3.4 or later",
    )


def builds(spec: ResNetSpec) -> bool:
    """Whether keras.applications' code makes such networks, of whatever size."""
    sizes = {key: getattr(spec, key) for key in ("depths", "widths", "stem_width", "norm_eps")}
    return any(same_network(replace(CATALOG[own], **sizes), spec) for own in ("keras_resnet50", "keras_resnet50v2"))


def _is_v2(file: Foreign) -> bool:
    return "post_bn/gamma" in file.tensors


def _parts(p: Plan) -> Mapping[str, str]:
    return V2 if norm_first(p) else V1


def _layer(parts: Mapping[str, str], p: Part) -> str:
    """The name of the layer that has a part; "" where none has."""
    layer = parts.get(p.part, "")
    return f"conv{p.stage + 1}_block{p.unit}_{layer}" if layer and p.stage else layer


def layer_name(p: Plan, part: Part) -> str:
    """The name of the layer that has a part of a network; "" where none has."""
    return _layer(_parts(p), part)


def _naming(parts: Mapping[str, str]) -> Naming:
    def name(state_name: str) -> str:
        p = Part.of(state_name)
        leaf = (NORM if p.kind == "norm" else LAYER).get(p.leaf)
        layer = _layer(parts, p)
        return f"{layer}/{leaf}" if layer and leaf else ""

    return name


def _graph(p: Plan) -> list[KerasLayer]:
    """The layers of a network in the order of `model.layers`."""
    parts = _parts(p)
    return layers(p, lambda role: _layer(parts, Part.of(f"{role}.output")))


def _layers(p: Plan) -> Iterator[tuple[str, str]]:
    """(class as Keras names files' groups, name) of the layers in the order of `model.layers`."""
    return ((GROUPS[layer.kind], layer.name) for layer in _graph(p))


def _settings(file: Foreign) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(class, settings) of every layer in the file's configuration, those of models within it too."""
    pending = [file.documents.get("keras")]
    while pending:
        layer = pending.pop()
        if isinstance(layer, dict) and isinstance(settings := layer.get("config"), dict):
            yield str(layer.get("class_name")), settings
            layers = settings.get("layers")
            pending += reversed(layers) if isinstance(layers, list) else ()


def _same(file: Foreign, layers: list[Mapping[str, Any]], key: str, default: float) -> float:
    """What all layers have in common; `default` is Keras's. Raises ModelFileError where they differ or it is odd."""
    values = [settings.get(key, default) for settings in layers]
    if values != values[:1] * len(values) or not isinstance(values[0], int | float) or not 0 < values[0] < 1:
        raise unusable(file.path, f"its configuration gives its norms the {key} {str(values[0])[:40]!r} and others")
    return values[0]


def _side(settings: Mapping[str, Any]) -> int | None:
    """The side of the square pictures that an input layer wants, if it says so."""
    shape = settings.get("batch_shape", settings.get("batch_input_shape"))
    side = shape[1] if isinstance(shape, list) and len(shape) == 4 and shape[1] == shape[2] else None
    return side if type(side) is int and 0 < side <= MAX_SIZE else None
