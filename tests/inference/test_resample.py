"""The resizing that exported files hold, against Pillow's own."""

from __future__ import annotations

import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from resnets.data.decode import decode
from resnets.data.preprocess import Preprocessing
from resnets.inference.onnx_nodes import Nodes, OnnxOps, Value
from resnets.inference.resample import TorchOps, normalised, probabilities, resized
from resnets.machine import openvino_core

RESIZES = {"shorter": 72, "stretch": 72, "longer": 65}  # what they resize to, for a square of 65 pixels
KINDS = [(resize, interpolation) for resize in RESIZES for interpolation in ("bilinear", "bicubic")]
# (height, width): single rows and pixels, long strips, odd, square, the exact size, one side exact, small and large.
SHAPES = [
    *((1, 1), (1, 500), (500, 1), (2, 2), (3000, 40), (40, 3000), (33, 47), (63, 64), (64, 64), (64, 91), (91, 64)),
    *((65, 65), (65, 72), (72, 72), (72, 73), (73, 72), (75, 100), (128, 128), (375, 500), (500, 375), (721, 1001)),
]


def photo(height, width, random, noise=12):
    """Shapes and shades with some noise, as photos have them: (height, width, 3) uint8."""
    coarse = random.integers(0, 256, (max(height // 12, 2), max(width // 12, 2), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return (smooth + random.integers(-noise, noise + 1, smooth.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(image, p):
    return p.pixels(Image.fromarray(image))


def in_torch(image, p):
    return resized(TorchOps(), torch.from_numpy(image.copy())[None], p)[0].permute(1, 2, 0).numpy()


def as_onnx(p):
    """An ONNX model of nothing but the resizing."""
    nodes = Nodes()
    pixels = resized(OnnxOps(nodes), Value(nodes, "images", np.uint8), p)
    nodes.add("Identity", pixels.name, name="pixels")
    helper, kinds = onnx.helper, onnx.TensorProto
    entry = helper.make_tensor_value_info("images", kinds.UINT8, ["N", "H", "W", 3])
    size = p.image_size
    out = helper.make_tensor_value_info("pixels", kinds.FLOAT, ["N", 3, size, size])
    graph = helper.make_graph(nodes.nodes, "resizing", [entry], [out], nodes.initializers)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.mark.parametrize(("resize", "interpolation"), KINDS)
def test_photos_of_every_odd_shape(resize, interpolation):
    random = np.random.default_rng(0)
    p = Preprocessing(image_size=65, resize_to=RESIZES[resize], resize=resize, interpolation=interpolation)
    differing = []
    for number in range(50):
        height, width = SHAPES[number] if number < len(SHAPES) else (2 ** random.uniform(0, 9.5, 2)).astype(int)
        image = photo(height, width, random)
        difference = np.abs(in_torch(image, p) - by_pillow(image, p))
        # What lies between two whole numbers may fall to the other side, first in a column and then in its row.
        assert difference.max() <= 2, (height, width)
        assert difference.mean() <= 0.2, (height, width)
        differing.append((difference > 0).mean())
    assert np.median(differing) < 0.05


@pytest.mark.parametrize(
    ("resize", "interpolation"), [("shorter", "bilinear"), ("shorter", "bicubic"), ("longer", "bicubic")]
)
def test_every_runtime_resizes_alike(resize, interpolation):
    random = np.random.default_rng(2)
    p = Preprocessing(image_size=65, resize_to=RESIZES[resize], resize=resize, interpolation=interpolation)
    model = as_onnx(p)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    core = openvino_core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in SHAPES:
        images = np.stack([photo(height, width, random) for _ in range(2)])
        wanted = resized(TorchOps(), torch.from_numpy(images), p).numpy()
        for given in (session.run(None, {"images": images})[0], compiled(images)[0]):
            assert given.dtype == np.float32
            assert np.abs(given - wanted).max() <= 1, (height, width)
            assert (given != wanted).mean() < 0.01, (height, width)


@pytest.mark.parametrize("resize", ["shorter", "stretch"])
@pytest.mark.parametrize(("size", "target"), [(33, 40), (32, 40), (40, 40)])
def test_pictures_of_the_right_size_are_cropped_to_the_pixel(resize, size, target):
    random = np.random.default_rng(3)
    p = Preprocessing(image_size=size, resize_to=target, resize=resize)
    image = photo(target, target, random, noise=90)
    assert np.array_equal(in_torch(image, p), p.pixels(Image.fromarray(image)))


def test_photos_of_a_data_set_keep_their_pixels(shared_data):
    path = shared_data / "imagenette.zip"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    p = Preprocessing.evaluation(224)
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        names = names[:: len(names) // 12]
        for name in names:
            image = np.asarray(decode(archive.read(name)))
            difference = np.abs(in_torch(image, p) - by_pillow(image, p))
            assert difference.max() <= 1, (name, image.shape)
    assert len(names) >= 10


@pytest.mark.parametrize(
    "fields", [{}, {"channels": "BGR"}, {"mean_image": np.random.default_rng(0).random((3, 9, 9))}]
)
def test_normalisation_is_the_preprocessings(fields):
    p = Preprocessing(image_size=9, resize_to=9, std=(0.2, 0.3, 0.4), **fields)
    pixels = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8))
    given = normalised(TorchOps(), pixels.permute(0, 3, 1, 2).float(), p)
    assert torch.equal(given, p.normalise(pixels))


def test_probabilities_are_cooled_by_the_temperature():
    logits = torch.tensor([[1.0, 2.0, 4.0]])
    assert torch.equal(probabilities(TorchOps(), logits, 2.0), torch.softmax(logits / 2, 1))
