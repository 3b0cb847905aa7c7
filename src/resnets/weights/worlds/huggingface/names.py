"""Hugging Face's ResNetForImageClassification: a folder of config.json, weights and preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.data.labels import apart
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnets.errors import DataError, ModelFileError
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.model import Model
from resnets.weights.worlds.base import Dialect, Naming
from resnets.weights.worlds.torch.folder import write_folder
from resnets.weights.worlds.torch.names import torch_naming

UNIT = "resnet.encoder.stages.{s}.layers.{u}."
PARTS = {
    "stem.conv": "resnet.embedder.embedder.convolution",
    "stem.norm": "resnet.embedder.embedder.normalization",
    **{f"conv{n}": f"layer.{n - 1}.convolution" for n in (1, 2, 3)},
    **{f"norm{n}": f"layer.{n - 1}.normalization" for n in (1, 2, 3)},
    "shortcut.conv": "shortcut.convolution",
    "shortcut.norm": "shortcut.normalization",
    "head.linear": "classifier.1",
}
BASE = "resnet."  # what ResNetModel's names lack
FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which the configuration uses
ALWAYS = {"groups": 1, "width_per_group": 64, "stem": "imagenet", "bias": "never"}  # in transformers' classes
SINGLE = "single_label_classification"
WARPED_FROM = 384  # from this size on ConvNext's processor stretches instead of cropping


class HuggingFace(Dialect):
    """`from_pretrained` loads what is written; the configuration decides what weights do not show."""

    name: ClassVar = "huggingface"
    containers: ClassVar = ("torch", "safetensors")
    borrowed: ClassVar = True
    framework: ClassVar = "transformers"

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """One way; the base model, which has no head, leaves a prefix out."""
        if f"{PARTS['stem.conv']}.weight".removeprefix(BASE) in file.tensors:
            return [torch_naming({part: name.removeprefix(BASE) for part, name in PARTS.items()}, UNIT[len(BASE) :])]
        return [torch_naming(PARTS, UNIT)]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """Where the stride sits; without a configuration, where the class has it by default."""
        config = file.documents.get("config", {})
        if config.get("downsample_in_first_stage"):
            raise unusable(file.path, "downsample_in_first_stage is on, and no published network strides there")
        if config.get("hidden_act", "relu") != "relu":
            raise unusable(file.path, f"its activation is {config['hidden_act']!r}, and a residual network's is relu")
        first = config.get("downsample_in_bottleneck") and config.get("layer_type") != "basic"
        return {"stride_conv": "first"} if first else {}

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """transformers' classes have neither groups nor other widths, stems or biases than the original's.

        One that answers yes or no to each of several things, or with numbers, is no classifier of one class of several.
        """
        problem = file.documents.get("config", {}).get("problem_type")
        if problem not in (None, SINGLE):
            raise unusable(
                file.path,
                f"its config.json says problem_type {str(problem)[:50]!r}, and a softmax is for {SINGLE!r} alone",
            )
        if lacking := _lacking(plan.spec):
            raise unusable(file.path, f"transformers' ResNet classes cannot load it: they have no {lacking}")

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """That of preprocessor_config.json, else the usual one."""
        document = file.documents.get("preprocessor")
        if not document:
            return super().preprocessing(file, spec)
        try:
            return _preprocessing(document)
        except (TypeError, ValueError, KeyError, ArithmeticError, DataError) as problem:
            raise unusable(file.path, f"its preprocessor_config.json cannot be followed ({problem})") from problem

    def states(self, file: Foreign) -> Mapping[str, str]:
        """A configuration stands for the graph of transformers' class."""
        documents = {
            "graph": ("config", "its config.json"),
            "preprocessing": ("preprocessor", "its preprocessor_config"),
        }
        return {what: words for what, (key, words) in documents.items() if file.documents.get(key)}

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those of the configuration; of names that stand there twice ("crane"), each gets its number.

        Numbers alone, where a numbered name is one of the others.
        """
        labels = file.documents.get("config", {}).get("id2label", {})
        names = [str(labels.get(str(i), i)) for i in range(count)] if isinstance(labels, dict) else []
        told = apart(names)
        return told if len(set(told)) == count else super().classes(file, count)

    def naming(self, plan: Plan) -> Naming:
        """The same for every network."""
        return torch_naming(PARTS, UNIT)

    def documents(self, model: Model) -> dict[str, Any]:
        """config.json and preprocessor_config.json. Raises ModelFileError for what transformers has no class for."""
        p, wanted = model.network.plan, model.preprocessing
        spec = p.spec
        if lacking := _lacking(spec):
            raise ModelFileError(f"huggingface has no network with {lacking}: choose another `target_dialect`.")
        labels = {str(i): name for i, name in enumerate(model.classes)}
        config = {
            "architectures": ["ResNetForImageClassification"],
            "model_type": "resnet",
            "depths": list(spec.depths),
            "embedding_size": spec.stem_width,
            "hidden_sizes": [width * spec.expansion for width in spec.widths],
            "layer_type": spec.block,
            "hidden_act": "relu",
            "downsample_in_first_stage": False,
            "downsample_in_bottleneck": spec.stride_conv == "first",
            "num_channels": p.in_channels,
            "id2label": labels,
            "label2id": {name: int(i) for i, name in labels.items()},
        }
        numbers = {name: number for number, name in FILTERS.items()}
        preprocessor = {
            "image_processor_type": "ConvNextImageProcessor",
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "size": {"shortest_edge": wanted.image_size},
            "crop_pct": wanted.image_size / wanted.resize_to,
            "resample": numbers[wanted.interpolation],
            "image_mean": list(wanted.mean),
            "image_std": list(wanted.std),
        }
        return {"config": config, "preprocessor": preprocessor}

    def write(self, path: Path, file: Foreign, plan: Plan) -> tuple[Path, ...]:
        """A folder that `from_pretrained` loads."""
        return write_folder(path, file)


def _lacking(spec: ResNetSpec) -> str:
    """The fields in which a spec differs from all of transformers' classes."""
    return ", ".join(f"{key}={getattr(spec, key)!r}" for key, value in ALWAYS.items() if getattr(spec, key) != value)


def _preprocessing(document: Mapping[str, Any]) -> Preprocessing:
    document = {key: value for key, value in document.items() if value is not None}
    if not document.get("do_resize", True):
        raise ValueError("do_resize is off, and pictures of any size fit no network")
    mean, std = _normalisation(document)
    others: dict[str, Any] = {
        "interpolation": FILTERS.get(number := document.get("resample", 2), number),
        "mean": mean,
        "std": std,
    }
    size = document["size"]
    edge = _side(size)
    stretched = isinstance(size, dict) and "height" in size  # ViT's way: both sides at once
    cropped = document.get("do_center_crop")
    if cropped or (cropped is None and "crop_size" in document):  # resized to `size`, then cropped
        others["resize"] = "stretch" if stretched else "shorter"
        return Preprocessing(image_size=_side(document["crop_size"]), resize_to=edge, **others)
    if stretched or edge >= WARPED_FROM:
        return Preprocessing(image_size=edge, resize_to=edge, resize="stretch", **others)
    if cropped is False and "crop_pct" not in document:  # ConvNext's processor, which has it, crops where it resizes
        raise ValueError("do_center_crop is off, and its pictures are then not square")
    return Preprocessing(image_size=edge, resize_to=int(edge / document.get("crop_pct", 224 / 256)), **others)


def _normalisation(document: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) in units of a picture of 0..1, from those of a picture that was rescaled otherwise before."""
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if document.get("do_normalize", True):
        mean, std = document.get("image_mean", IMAGENET_MEAN), document.get("image_std", IMAGENET_STD)
    rescaled = document.get("do_rescale", True)
    white = 255.0 * document.get("rescale_factor", 1 / 255) if rescaled else 255.0  # 1 where it is as usual
    offset = 1 if rescaled and document.get("rescale_offset") else 0  # subtracted after rescaling, as in EfficientNet
    return tuple((number + offset) / white for number in mean), tuple(number / white for number in std)


def _side(size: Any) -> Any:
    """The one side of a size: a number, {"shortest_edge": n} or {"height": n, "width": n}."""
    if not isinstance(size, dict):
        return size
    if len(set(size.values())) != 1 or size.keys() - {"shortest_edge", "height", "width"}:
        raise ValueError("a size there is not that of a square")
    return next(iter(size.values()))
