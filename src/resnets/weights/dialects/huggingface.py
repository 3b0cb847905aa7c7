"""Hugging Face's ResNetForImageClassification: a folder of config.json, weights and preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnets.errors import DataError
from resnets.weights.dialects.base import Dialect, Naming, torch_naming
from resnets.weights.files.stored import Foreign, unusable
from resnets.weights.files.write import write_folder
from resnets.weights.modelfile import Model

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
FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which the configuration uses
WARPED_FROM = 384  # from this size on ConvNext's processor stretches instead of cropping


class HuggingFace(Dialect):
    """`from_pretrained` loads what is written; the configuration decides what weights do not show."""

    name: ClassVar = "huggingface"
    containers: ClassVar = ("torch", "safetensors")
    writes: ClassVar = "a folder"

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """One way."""
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

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """That of preprocessor_config.json, else the usual one."""
        document = file.documents.get("preprocessor")
        if not document:
            return super().preprocessing(file, spec)
        try:
            return _preprocessing(document)
        except (TypeError, ValueError, KeyError, DataError) as problem:
            raise unusable(file.path, f"its preprocessor_config.json makes no sense ({problem})") from problem

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those of the configuration; of names that stand there twice ("crane"), each gets its number."""
        labels = file.documents.get("config", {}).get("id2label", {})
        names = [str(labels.get(str(i), i)) for i in range(count)] if isinstance(labels, dict) else []
        if len(names) != count:
            return super().classes(file, count)
        return tuple(name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names))

    def naming(self, plan: Plan) -> Naming:
        """The same for every network."""
        return torch_naming(PARTS, UNIT)

    def documents(self, model: Model) -> dict[str, Any]:
        """config.json and preprocessor_config.json."""
        p, wanted = model.network.plan, model.preprocessing
        spec = p.spec
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


def _preprocessing(document: Mapping[str, Any]) -> Preprocessing:
    size = document["size"]
    size = size if isinstance(size, dict) else {"shortest_edge": size}
    normalised = document.get("do_normalize", True)
    others: dict[str, Any] = {
        "interpolation": FILTERS[document.get("resample", 2)],
        "mean": tuple(document.get("image_mean", IMAGENET_MEAN)) if normalised else (0.0, 0.0, 0.0),
        "std": tuple(document.get("image_std", IMAGENET_STD)) if normalised else (1.0, 1.0, 1.0),
    }
    if "height" in size:  # ViT's way: both sides at once
        return Preprocessing(image_size=size["height"], resize_to=size["height"], resize="stretch", **others)
    edge = size["shortest_edge"]
    if "crop_size" in document:  # resized to `size`, then cropped
        crop = document["crop_size"]
        crop = crop["height"] if isinstance(crop, dict) else crop
        return Preprocessing(image_size=crop, resize_to=edge, **others)
    if edge >= WARPED_FROM:
        return Preprocessing(image_size=edge, resize_to=edge, resize="stretch", **others)
    return Preprocessing(image_size=edge, resize_to=int(edge / document.get("crop_pct", 224 / 256)), **others)
