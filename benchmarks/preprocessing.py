"""The preprocessing inside exported files against Pillow's, on photos of every odd shape.

    python benchmarks/preprocessing.py runs/imagenette-resnet18 imagenette.zip [--photos 200]

Photos of the set are brought to shapes from 1 pixel to thousands, upright, lying and square. Compared are the pixels
after the resizing (in ONNX Runtime, OpenVINO and torch), and the class that the exported files name, with what
`Preprocessing.pixels` and the classifier say.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

import resnets
from resnets.data.decode import decode
from resnets.data.open import open_source
from resnets.data.preprocess import Preprocessing
from resnets.inference.export import write
from resnets.inference.onnx_nodes import Nodes, OnnxOps, Value
from resnets.inference.readback import runtimes
from resnets.inference.resample import TorchOps, resized
from resnets.machine import describe, openvino_core

SIDES = (1, 3, 17, 40, 63, 97, 128, 146, 200, 224, 256, 333, 375, 500, 640, 1023, 1500, 3000)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a trained network")
    parser.add_argument("data", help="photos")
    parser.add_argument("--photos", type=int, default=200)
    arguments = parser.parse_args()

    classifier = resnets.load(arguments.model)
    p = classifier.preprocessing
    ways = resizers(p)
    worst = dict.fromkeys(ways, 0.0)
    mean = dict.fromkeys(ways, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        opened = []
        for name in ("model.onnx", "model.xml", "model.pt2"):
            path = Path(folder) / name
            write(path, classifier, precision="float32")
            opened += [(f"{one.runtime} ({path.suffix})", one) for one in runtimes(path, p, "float32")]
        agreed = dict.fromkeys((name for name, _ in opened), 0)
        for picture in photos(arguments.data, arguments.photos):
            wanted = p.pixels(picture)
            image = np.asarray(picture)[None]
            for name, way in ways.items():
                difference = np.abs(way(image) - wanted)
                worst[name] = max(worst[name], float(difference.max()))
                mean[name] = max(mean[name], float(difference.mean()))
            own = int(classifier.logits(wanted[None]).argmax())
            for name, one in opened:
                agreed[name] += int(one(image).argmax()) == own
    print(f"{arguments.photos} photos, {p.image_size} pixels, {describe()['processor']}")
    for name in ways:
        print(f"pixels, {name}: at most {worst[name]:.0f}/255, mean of the worst photo {mean[name]:.3f}/255")
    for name, count in agreed.items():
        print(f"class, {name}: equal on {count} of {arguments.photos}")


def photos(data: str, count: int) -> list[Image.Image]:
    """Photos of the set, each brought to another shape."""
    source = open_source(data)
    random = np.random.default_rng(0)
    chosen = random.choice(len(source.samples), count, replace=False)
    shapes = random.choice(SIDES, (count, 2))
    pictures = []
    for index, (width, height) in zip(chosen, shapes, strict=True):
        picture = decode(source.read(source.samples[index].key))
        pictures.append(picture.resize((int(width), int(height)), Image.Resampling.BICUBIC))
    return pictures


def resizers(p: Preprocessing):
    """The resizing alone, in each runtime: (1, H, W, 3) uint8 -> (S, S, 3)."""
    nodes = Nodes()
    pixels = resized(OnnxOps(nodes), Value(nodes, "images", np.uint8), p)
    nodes.add("Identity", pixels.name, name="pixels")
    helper, kinds, size = onnx.helper, onnx.TensorProto, p.image_size
    graph = helper.make_graph(
        nodes.nodes,
        "resizing",
        [helper.make_tensor_value_info("images", kinds.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("pixels", kinds.FLOAT, ["N", 3, size, size])],
        nodes.initializers,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    core = openvino_core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ways = {
        "onnxruntime": lambda image: session.run(None, {"images": image})[0],
        "openvino": lambda image: compiled(image)[0],
        "torch": lambda image: resized(TorchOps(), torch.from_numpy(image.copy()), p).numpy(),
    }
    return {name: (lambda image, way=way: way(image)[0].transpose(1, 2, 0)) for name, way in ways.items()}


if __name__ == "__main__":
    main()
