"""Writes the specification of the model file from what reads and writes it.

python -m resnets.cli.reference file > docs/reference/model-file.md
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from resnets.cli.python_reference import explained

HEAD = """\
# The model file

This page is generated: `python -m resnets.cli.reference file > docs/reference/model-file.md`. It is a specification:
a reader in any language can be written by it. `examples/model_file_alone.py` is one, with numpy alone, and a test
runs it.

A model file is a [safetensors](https://huggingface.co/docs/safetensors) file, by habit `model.safetensors`: eight
bytes with the length N of a header (unsigned, little-endian), N bytes of JSON, then the tensors' bytes. The header
maps each tensor's name to `dtype`, `shape` and `data_offsets` (begin and end, counted behind the header); the entry
`__metadata__` maps two strings:

| key | value |
| --- | --- |
| `resnets` | the document, JSON |
| `sha256` | 64 hexadecimal digits over the document and all tensors |

Nothing in it is code, and nothing is unpickled. A reader refuses a file whose `format` is above {format}, which is
this one, and looks at that before the hash.

## The hash

SHA-256 over, in this order: the bytes of the string `resnets` as it stands (UTF-8, blanks at its end included); then
for each tensor, sorted by name, the line `\\nNAME DTYPE SHAPE\\n` (as in `\\nstem.conv.weight F32 [16, 3, 3, 3]\\n`)
and its bytes.

## The tensors

The state of the network under the names of its rows: a role and a leaf, `stage3.unit2.conv1.weight`. Row-major,
`F32`; where the document says `"stored": "float16"`, `F16`, to be widened before use.

| row | tensors |
| --- | --- |
| convolution | `weight` (out, in / groups, k, k); `bias` (out,) where it has one |
| norm | `weight`, `bias`, `running_mean`, `running_var` (channels,); `num_batches_tracked` (), `I64`: of no use here |
| linear | `weight` (classes, features), `bias` (classes,) |

`preprocessing.mean_image`, (3, S, S) `F32`, is there where a picture is subtracted instead of three numbers. No other
tensors may be there, and none of these may be missing. Which rows there are follows from `spec`: `resnets show FILE
--all` lists them, and `resnets show FILE --json` says what each reads.

## The document

| key | meaning |
| --- | --- |
| `format` | {format} |
| `spec` | the choices that define the network, below |
| `num_classes`, `in_channels`, `output_stride` | outputs of the head, channels of the image, 8, 16 or 32 |
| `classes` | names in the order of the logits, all different |
| `titles` | class to what it is called in words; left out where there is none |
| `preprocessing` | from a picture to the network's input, below |
| `calibration` | how to read logits as probabilities, below |
| `provenance` | where the model comes from, below |
| `probe` | `logits`: those of the self-test, 2 rows |
| `stored` | `"float16"`; left out for float32 |

All numbers are finite.
"""

PROBE = """\
## The self-test

A reader runs the network, in evaluation mode and float32, on an input that needs no file. Element i (counted in
row-major order) of an array of shape (2, `in_channels`, S, S), S being `image_size` but at most {largest}, is

    (i · 2654435761 mod 2^32) / 2^31 − 1

computed in 64-bit floats and rounded to 32 bits. The logits must lie within {share:.0%} of the recorded ones' spread
(the largest, or 0, less the smallest, or 0): that leaves room for another processor's rounding, and none for another
computation.
"""

PREPARED = """\
All keys are there but `full_scale` and `fill`, and no others may be.

From a picture to the input: bytes are decoded (EXIF orientation applied, transparency flattened on white, colour
profiles ignored). With `"shorter"` and `"stretch"` a rectangle around the picture's middle is resampled to the square
in one pass, antialiased where it shrinks, without rounding its sides: w · image_size / resize_to wide and h ·
image_size / resize_to high, where w and h are both the shorter side (`"shorter"`), or the picture's own
(`"stretch"`). With `"longer"` all of it is resampled, the longer side to image_size and the other to the nearest
whole number, and laid into the middle of a square of the colour `fill`. Values are divided by 255, put into the order
`channels`, less `mean`, divided by `std`.
"""

# What a document has and the class has not, and what it says in another way.
IN_A_FILE = {
    "decode": "the version of the rules by which bytes become pixels: 1 to {version}",
    "resize": '`"shorter"`, `"stretch"` (both) or `"longer"`: which side is made `resize_to` pixels long',
    "interpolation": '`"bilinear"` or `"bicubic"`: {interpolation}',
    "channels": '`"RGB"` or `"BGR"`: {channels}',
    "mean_image": "true or false: whether the tensor of that name is there, and subtracted instead of `mean`",
    "fill": 'with `"longer"` alone: (R, G, B) of 0..255, which is the rounded mean',
}

LEFT_ASIDE = """\
A reader may leave `unlike`, `fitted_on` and `halves` aside: they say when a picture is like nothing that the model
knows, and keep images from judging what was fitted on them.
"""


def reference() -> str:
    """The whole page as Markdown."""
    from resnets.architecture import ResNetSpec, spec_of
    from resnets.weights import modelfile
    from resnets.weights.calibration import Calibration, Fit
    from resnets.weights.provenance import Provenance

    choices = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in spec_of("resnet50").to_dict().items())
    example = "{\n" + ",\n".join(choices) + "\n}"
    calibrated = {**explained(Fit).names, **explained(Calibration).names}
    parts = [
        HEAD.format(format=modelfile.FORMAT),
        *_section("spec", "All keys are there. Values and rules:", _fields(ResNetSpec)),
        f"ResNet-50 as an example:\n\n```json\n{example}\n```\n",
        *_section("preprocessing", PREPARED.strip(), _prepared()),
        *_section("calibration", "The probabilities are softmax(logits / temperature).", calibrated),
        LEFT_ASIDE,
        *_section("provenance", "Every key may be missing, and others may be there.", _fields(Provenance)),
        PROBE.format(largest=modelfile.SELF_TEST_LARGEST, share=modelfile.SELF_TEST_TOLERANCE),
    ]
    return "\n".join(parts)


def _prepared() -> dict[str, str]:
    """The keys of a file's preprocessing, with their words."""
    from resnets.data import decode
    from resnets.data.preprocess import Preprocessing

    words = _fields(Preprocessing)
    own = {key: text.format(version=decode.VERSION, **words) for key, text in IN_A_FILE.items()}
    return {"decode": own["decode"], **words, **own}


def _fields(kind: Any) -> dict[str, str]:
    """The fields of a dataclass that a file holds, with their words."""
    words = explained(kind).names
    return {one.name: words[one.name] for one in dataclasses.fields(kind) if one.name in words and one.name != "other"}


def _section(name: str, prose: str, rows: dict[str, str]) -> list[str]:
    table = [f"| `{key}` | {' '.join(words.split())} |".replace("``", "`") for key, words in rows.items()]
    return [f"### `{name}`", "", prose, "", "| key | meaning |", "| --- | --- |", *table, ""]
