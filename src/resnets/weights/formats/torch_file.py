"""Reads what torch.save wrote, in both of its formats, without torch's unpickler; and writes plain state dicts.

A checkpoint is a pickle and, beside it, the bytes of storages, of which the pickle's tensors are views. The pickle is
read as data, so that a malicious one is harmless, and one with odd objects beside its tensors opens like any other.
Format: torch/serialization.py of torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from resnets.weights.formats import pickle_data
from resnets.weights.formats.pickle_data import Made, Value
from resnets.weights.formats.stored import MAX_DOCUMENT_BYTES, Foreign, Stored, mapped, unusable
from resnets.weights.formats.torch_facts import facts_of
from resnets.weights.formats.torch_modules import Modules
from resnets.weights.formats.torch_views import Storage, View, extent, storage_of, tensors_of
from resnets.weights.formats.zip import START, Member, members
from resnets.whole import whole

MAX_REPEATS, SLACK = 4, 2**24  # all tensors may have four times the file's bytes (shared weights), and 16 MB more

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def open_torch(path: Path) -> Foreign:
    """Open a checkpoint: zip format (torch 1.6 and later) or the one before, of any pickle protocol from 1 to 5.

    Names of nested dictionaries and lists are joined with "/". What is no tensor stands in documents["checkpoint"], as
    far as it is plain (`facts_of`). A tensor's numbers come with the strides undone. Raises ModelFileError for a file
    that is damaged, big-endian, a TorchScript program, or holds no tensors.
    """
    try:
        data = mapped(path)
        root, storages = _from_zip(data) if bytes(data[:4]) == START else _from_legacy(data)
        counted = Modules()
        views = tensors_of(root, counted)
        modules = counted.settings_of(root)
        tensors = {name: _stored(path, name, view, storages) for name, view in views.items()}
        for name, stored in tensors.items() if modules else ():
            owner = modules.get(name[: name.rfind(".") + 1])
            tensors[name] = replace(stored, module=owner)
        _refuse_bombs(views, len(data))
    except OSError as problem:
        raise unusable(path, f"it cannot be read ({problem.strerror}); check its permissions") from problem
    except ValueError as problem:
        raise unusable(path, str(problem)) from problem
    documents = {"checkpoint": facts_of(root), "modules": modules}
    return Foreign(path, "torch", tensors, {name: facts for name, facts in documents.items() if facts}, (path,))


def write_torch(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a plain state dict for torch.load(path, weights_only=True): whole, or not at all.

    Raises ModelFileError when the file cannot be written.
    """
    state = {name: _alone(tensor.detach().cpu().contiguous()) for name, tensor in tensors.items()}
    with whole(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as problem:  # of closing an archive whose file could not be written
            raise problem.__context__ or problem from None


def _alone(tensor: Tensor) -> Tensor:
    """A tensor whose storage holds nothing else, because torch saves whole storages."""
    return tensor if tensor.nbytes == tensor.untyped_storage().nbytes() else tensor.clone()


def _from_zip(data: memoryview) -> tuple[Value, dict[str, Member]]:
    """(the pickled value, storages by key) of an archive TOP/data.pkl, TOP/data/KEY, TOP/byteorder."""
    found = members(data)
    tops = [name.removesuffix("data.pkl") for name in found if name.count("/") == 1 and name.endswith("/data.pkl")]
    if any("/code/" in name or name.endswith("/constants.pkl") for name in found):
        raise ValueError("it is a TorchScript program; open it with torch.jit.load and save its state_dict()")
    if len(tops) != 1:
        raise ValueError("it is an archive, but not of torch.save; give the checkpoint that is in it")
    if any(member.packed for member in found.values()):
        raise ValueError("its archive is compressed, which torch's is not; unpack it, and pack it without compression")
    top = tops[0]
    if top + "byteorder" in found and bytes(found[top + "byteorder"].content) == b"big":
        raise ValueError("it was saved on a big-endian machine; load it with torch there and save it as safetensors")
    pickle = found[top + "data.pkl"]
    pickle.verify()
    root, _ = pickle_data.load(bytes(pickle.content[:MAX_DOCUMENT_BYTES]), 0, storage_of)
    prefix = top + "data/"
    return root, {name.removeprefix(prefix): member for name, member in found.items() if name.startswith(prefix)}


def _from_legacy(data: memoryview) -> tuple[Value, dict[str, Member]]:
    """The same of five pickles (magic, version, system, value, keys), then for each key a count and the elements."""
    met: dict[str, Storage] = {}

    def storage(reference: Value) -> Value:
        value = storage_of(reference)
        if isinstance(value, Storage):
            met.setdefault(value.key, value)
        return value

    head = bytes(data[:MAX_DOCUMENT_BYTES])
    magic, at = pickle_data.load(head, 0, storage)
    if magic != _LEGACY_MAGIC:
        raise ValueError("it is a pickle, but not of torch.save; give a file that torch.save wrote")
    _, at = pickle_data.load(head, at, storage)
    system, at = pickle_data.load(head, at, storage)
    root, at = pickle_data.load(head, at, storage)
    keys, at = pickle_data.load(head, at, storage)
    if isinstance(system, Made) and system.get("little_endian") is False:
        raise ValueError("it was saved on a big-endian machine; load it with torch there and save it as safetensors")
    storages: dict[str, Member] = {}
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in met or key in storages:
            raise ValueError("its list of storages is damaged; copy it again")
        end = at + 8 + int.from_bytes(data[at : at + 8], "little") * met[key].dtype.itemsize
        if end > len(data):
            raise ValueError("it is cut off; copy it again")
        storages[key] = Member(data[at + 8 : end])
        at = end
    return root, storages


def _refuse_bombs(views: Mapping[str, View], size: int) -> None:
    """Many tensors may share bytes, and a stride of 0 repeats them: a small file could ask for any memory and time."""
    total = sum(max(extent(view), math.prod(view.shape)) * view.dtype.itemsize for view in views.values())
    if total > MAX_REPEATS * size + SLACK:
        raise ValueError(f"its tensors would take {total:,} bytes, which is out of proportion to the file's {size:,}")


def _stored(path: Path, name: str, view: View, storages: Mapping[str, Member]) -> Stored:
    member = storages.get(view.storage.key)
    first = view.storage.start * view.storage.dtype.itemsize + view.offset * view.dtype.itemsize
    end = first + extent(view) * view.dtype.itemsize
    part = (view.storage.start + view.storage.count) * view.storage.dtype.itemsize
    if member is None or part > len(member.content) or end > max(part, first):
        raise ValueError(f"{name[:100]!r} lies outside of its storage; copy the file again")

    def read() -> Tensor:
        try:
            member.verify()
        except ValueError as problem:
            raise unusable(path, str(problem)) from problem
        if first == end:
            return torch.empty(view.shape, dtype=view.dtype)
        elements = torch.frombuffer(bytearray(member.content[first:end]), dtype=view.dtype)
        strides = [stride if size > 1 else 1 for size, stride in zip(view.shape, view.strides, strict=True)]
        return elements.as_strided(view.shape, strides).contiguous()

    return Stored(view.shape, view.dtype, read)
