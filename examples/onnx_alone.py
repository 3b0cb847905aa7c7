"""An exported file without torch and without this library: everything that a prediction needs is in it.

resnets export MODEL photos.onnx
python examples/onnx_alone.py photos.onnx new.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

file, *pictures = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
for picture in pictures:
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(picture)).convert("RGB"))  # (H, W, 3) uint8, any size
    (probabilities,) = session.run(["probabilities"], {"images": pixels[None]})
    best = probabilities[0].argsort()[::-1][:3]
    print(f"{picture}: " + ", ".join(f"{classes[i]} {probabilities[0, i]:.1%}" for i in best))
