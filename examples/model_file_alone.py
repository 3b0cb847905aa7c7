"""The model file, read and checked by what its specification says, with numpy alone.

python examples/model_file_alone.py model.safetensors
"""

import hashlib
import json
import sys

import numpy as np

TYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}


def read(path):
    """(document, {name: array}); raises ValueError where the hash disagrees."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    said = header.pop("__metadata__")
    if json.loads(said["resnets"])["format"] > 1:  # before the hash, which may be another one then
        raise ValueError(f"{path} is of a newer format")
    digest = hashlib.sha256(said["resnets"].encode())
    tensors = {}
    for name in sorted(header):
        entry = header[name]
        start, end = entry["data_offsets"]
        digest.update(f"\n{name} {entry['dtype']} {entry['shape']}\n".encode())
        digest.update(data[start:end])
        tensors[name] = np.frombuffer(data[start:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    if digest.hexdigest() != said["sha256"]:
        raise ValueError(f"{path} is damaged")
    return json.loads(said["resnets"]), tensors


def main(path):
    document, tensors = read(path)
    numbers = sum(one.size for one in tensors.values())
    print(f"format {document['format']}, {len(tensors)} tensors, {numbers:,} numbers, the hash agrees")
    print(f"classes: {', '.join(document['classes'][:10])}")
    for key, value in document["preprocessing"].items():
        print(f"  {key}: {value}")


if __name__ == "__main__":
    main(sys.argv[1])
