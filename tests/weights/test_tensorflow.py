"""TensorFlow's checkpoints: what it wrote is read, what we write is whole, and what is broken is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorflow_files import (
    BY_TENSORFLOW,
    IN_BOTH,
    OLD_BY_TENSORFLOW,
    appended,
    block,
    bundle,
    finished,
    literals,
    old,
    shape,
    table,
)

from resnets.errors import ModelFileError
from resnets.weights.formats.protobuf import encoded, field
from resnets.weights.formats.stored import Foreign
from resnets.weights.formats.table import MAX_DIRECTORY_BYTES, checksum
from resnets.weights.formats.tensorflow_file import open_tensorflow
from resnets.weights.formats.tensorflow_pieces import MAX_VARIABLES, piece_key
from resnets.weights.open import open_file

Put = Callable[..., Path]
SMALL = {"a/weights": np.arange(6).reshape(3, 2), "b": np.array([0.5]), "c": np.array(7.0), "d": np.zeros((2, 1))}


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes the files of a bundle, or an old single file; returns the prefix."""

    def write(files: bytes | Mapping[str, bytes], name: str = "model.ckpt") -> Path:
        for suffix, content in ({"": files} if isinstance(files, bytes) else files).items():
            (tmp_path / f"{name}{suffix}").write_bytes(content)
        return tmp_path / name

    return write


def read(file: Foreign) -> dict[str, torch.Tensor]:
    return {name: stored.read() for name, stored in file.tensors.items()}


def same(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor) for name, tensor in theirs.items()
    )


def floats(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}


def test_what_tensorflow_wrote_is_read(put: Put) -> None:
    new = open_tensorflow(put(BY_TENSORFLOW, "new"))
    assert same(read(new), {**IN_BOTH, "net/bf16": torch.tensor([1.5, -0.25], dtype=torch.bfloat16)})
    assert new.container == "tensorflow"
    assert [path.name for path in new.files] == ["new.index", *(f"new.data-0000{n}-of-00003" for n in range(3))]
    ancient = open_tensorflow(put(OLD_BY_TENSORFLOW, "old"))
    assert same(read(ancient), IN_BOTH)
    assert [path.name for path in ancient.files] == ["old"]


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00001-of-00003", ".meta"])
def test_a_bundle_opens_by_its_prefix_and_by_each_of_its_files(put: Put, suffix: str) -> None:
    prefix = put(BY_TENSORFLOW)
    assert open_tensorflow(prefix.with_name(prefix.name + suffix)).tensors.keys() > IN_BOTH.keys()


def test_checkpoints_are_known_by_their_content(put: Put) -> None:
    assert open_file(put(BY_TENSORFLOW, "new")).container == "tensorflow"
    assert open_file(put(OLD_BY_TENSORFLOW, "any.name")).container == "tensorflow"


def test_an_old_checkpoint_may_be_in_several_files(put: Put, tmp_path: Path) -> None:
    put(old({"a": SMALL["a/weights"]}), "m.ckpt-00000-of-00002")
    with pytest.raises(ModelFileError, match=r"m\.ckpt-00001-of-00002 cannot be read"):
        open_tensorflow(tmp_path / "m.ckpt-00000-of-00002")
    second = put(old({"b": SMALL["b"]}), "m.ckpt-00001-of-00002")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/far/away/m.ckpt-?????-of-00002"\n')
    for path in (second, tmp_path):
        assert sorted(open_tensorflow(path).tensors) == ["a", "b"]


def test_a_folder_means_its_only_checkpoint_or_the_latest(put: Put, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no checkpoint is in it"):
        open_tensorflow(tmp_path)
    put(bundle({"a": SMALL["b"]}), "model.ckpt-1")
    assert [*open_tensorflow(tmp_path).tensors] == ["a"]
    put(bundle({"b": SMALL["b"]}), "model.ckpt-2")
    with pytest.raises(
        ModelFileError, match=r"2 checkpoints in it \(model.ckpt-1.index, model.ckpt-2.index\); name one"
    ):
        open_tensorflow(tmp_path)
    state = tmp_path / "checkpoint"
    for prefix in ("model.ckpt-1", "/home/somebody/run/model.ckpt-1", r"C:\\run\\model.ckpt-1"):
        state.write_text(f'model_checkpoint_path: "{prefix}"\nall_model_checkpoint_paths: "model.ckpt-2"\n')
        assert [*open_tensorflow(tmp_path).tensors] == ["a"]
    state.write_bytes(b'model_checkpoint_path: "' + b"\x1b" * 5000 + b'"\n')
    with pytest.raises(ModelFileError, match="2 checkpoints"):
        open_tensorflow(tmp_path)


@pytest.mark.parametrize("files", [BY_TENSORFLOW, {"": OLD_BY_TENSORFLOW}], ids=["bundle", "old"])
def test_no_byte_changes_unseen(put: Put, files: dict[str, bytes]) -> None:
    whole = read(open_tensorflow(put(files)))
    unseen = 0
    for suffix, content in files.items():
        for position in range(len(content)):
            damaged = bytearray(content)
            damaged[position] ^= 1 << position % 8
            try:
                given = read(open_tensorflow(put({**files, suffix: bytes(damaged)})))
            except ModelFileError:
                continue
            assert same(given, whole), f"byte {position} of {suffix}"
            unseen += 1
        for length in range(0, len(content), 7):
            with pytest.raises(ModelFileError, match=r"model\.ckpt"):
                read(open_tensorflow(put({**files, suffix: content[:length]})))
        put({suffix: content})
    assert unseen < 120  # the footer has 40 bytes for what takes ten, and a bundle may hold text


@pytest.mark.parametrize("compress", [None, literals])
def test_tables_of_several_blocks_with_shared_keys(put: Put, compress: Callable[[bytes], bytes] | None) -> None:
    many = {f"scope/block{n % 3}/unit_{n}": np.full((2, 3), n) for n in range(300)}
    assert same(read(open_tensorflow(put(bundle(many, shards=2, compress=compress), "new"))), floats(many))
    assert same(read(open_tensorflow(put(old(many, compress), "old"))), floats(many))


def test_tensors_are_read_when_asked_for(put: Put) -> None:
    files = bundle(SMALL)
    prefix = put(files)
    file = open_tensorflow(prefix)
    data = bytearray(files[".data-00000-of-00001"])
    data[0] ^= 1
    put({".data-00000-of-00001": bytes(data)})
    assert file.tensors["b"].read() == 0.5
    with pytest.raises(ModelFileError, match="checksum of a tensor is wrong"):
        file.tensors["a/weights"].read()
    file.tensors["b"].read().fill_(3)
    assert file.tensors["b"].read() == 0.5


@pytest.mark.parametrize(
    ("extents", "key"),  # as TensorFlow 2.21 wrote them
    [
        (((0, -1),), "0101 807f"),
        (((0, 44), (0, 1)), "0102 80ac8081"),
        (((0, -1), (65, 65)), "0102 807f c041c041"),
        (((6667, 6667),), "0101 da0bda0b"),
        (((13334, 6666),), "0101 e03416da0a"),
        (((1500000, 1500000),), "0101 f016e360f016e360"),
        ((), "00"),
    ],
)
def test_keys_of_pieces(extents: tuple[tuple[int, int], ...], key: str) -> None:
    assert piece_key("p1", extents) == b"\0p1\0\1" + bytes.fromhex(key)


ONE = {"a": np.zeros((2, 3))}
INDEX = {".index": BY_TENSORFLOW[".index"]}


def directory(*entries: tuple[bytes, bytes], header: bytes = b"\x08\x01") -> dict[str, bytes]:
    return {".index": table([[(b"", header), *entries]]), ".data-00000-of-00001": bytes(100)}


def entry(*sizes: int, start: int = 0, length: int = 4, pieces: bytes = b"") -> bytes:
    return field(1, 1) + field(2, shape(*sizes)) + field(4, start) + field(5, length) + pieces


def cut(*lengths: int) -> dict[str, bytes]:
    """A variable of six rows in pieces of these lengths, all but the first at row 2."""
    extents = [((2 if number else 0, length),) for number, length in enumerate(lengths)]
    pieces = b"".join(field(7, field(1, field(1, start) + field(2, length))) for ((start, length),) in extents)
    stored = [
        (piece_key("a", extent), entry(extent[0][1], start=20 * number, length=4 * extent[0][1]))
        for number, extent in enumerate(extents)
    ]
    return directory(*sorted(stored), (b"a", entry(6, pieces=pieces)))


def overlapping_blocks() -> bytes:
    out = bytearray()
    handle = appended(out, block([(b"", b"\x08\x01")]))
    return finished(out, block([(b"a", handle), (b"b", handle)]))


def long_keys() -> bytes:
    """Each key is the one before and a byte: a hundred kilobytes for gigabytes of keys."""
    steps = b"".join(encoded(length) + b"\1\0k" for length in range(30_000))
    out = bytearray()
    handle = appended(out, b"\0\0\2\x08\1" + steps + bytes(4) + (1).to_bytes(4, "little"))
    return finished(out, block([(b"\xff", handle)]))


def with_compression(number: int) -> bytes:
    content = block([(b"", b"\x08\x01")]) + bytes([number])
    out = bytearray(content + checksum(content).to_bytes(4, "little"))
    return finished(out, block([(b"a", encoded(0) + encoded(len(content) - 1))]))


REFUSED: dict[str, tuple[bytes | dict[str, bytes], str]] = {
    "no table": (b"no checkpoint at all, but long enough to be a footer", "something else"),
    "nothing": (b"", "cut off"),
    "no data file": (INDEX, "model.ckpt.data-00000-of-00003, one of its 3 data files, is not beside it"),
    "data alone": ({".data-00000-of-00001": b"abc"}, "no model.ckpt.index beside it"),
    "data cut off": (bundle(ONE) | {".data-00000-of-00001": bytes(23)}, "data-00000-of-00001 is cut off"),
    "big-endian": (bundle(ONE, header=field(2, 1)), "big-endian"),
    "no such data file": (bundle(ONE, changes={"a": {3: 5}}), "data files that cannot be"),
    "tensors on one another": (bundle({**ONE, "b": ONE["a"]}, changes={"b": {4: 4}}), "tensors overlap"),
    "a negative place": (bundle(ONE, changes={"a": {4: -8}}), "tensors overlap"),
    "a negative length": (bundle(ONE, changes={"a": {5: -8}}), "overlap"),
    "length against shape": (bundle(ONE, changes={"a": {5: 20}}), "20 bytes, which its shape"),
    "a huge shape": (directory((b"a", entry(2**40, 0, length=0))), "larger than any"),
    "a negative shape": (directory((b"a", entry(-1))), "no tensor can have"),
    "nine dimensions": (directory((b"a", entry(*[1] * 9))), "no tensor can have"),
    "a name that is no text": (directory((b"a\n", entry(1))), "has the name"),
    "a piece is missing": (directory((b"a", entry(6, pieces=field(7, b"\x0a\0")))), "a piece of a is missing"),
    "pieces overlap": (cut(3, 4), "pieces of a variable overlap"),
    "pieces leave a gap": (cut(1, 4), "leave something out"),
    "pieces leave the end": (cut(2, 3), "leave something out"),
    "a piece outside": (cut(2, 5), "lies outside"),
    "too many": (directory(*((b"%06d" % n, b"") for n in range(MAX_VARIABLES + 1))), "more than 20,000"),
    "too much": (directory((b"a", bytes(MAX_DIRECTORY_BYTES))), "which no network needs"),
    "text for a number": (directory((b"a", field(1, b"x"))), "a number should be"),
    "a number for text": (directory((b"a", field(1, 1) + field(2, 3))), "text should be"),
    "blocks on one another": (overlapping_blocks(), "damaged"),
    "keys that grow": (long_keys(), "damaged"),
    "unknown compression": (with_compression(7), "number 7"),
    "compressed nonsense": (with_compression(1), "compressed block"),
    "an old file's promise": (old(ONE, told={"a": (2**14,)}), "more numbers than it can hold"),
    "an old file's shape": (old(ONE, told={"a": (2, 4)}), "another number of values"),
    "no such piece": (table([[(b"", field(1, field(1, field(1, "a") + field(3, 1) + field(4, b""))))]]), "no entry"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_broken_is_refused(put: Put, what: str) -> None:
    files, why = REFUSED[what]
    path = put(files)
    if what == "data alone":
        path = path.with_name(path.name + ".data-00000-of-00001")
    with pytest.raises(ModelFileError, match=why) as caught:
        read(open_tensorflow(path))
    assert str(path) in str(caught.value)


def test_google_crc32c_is_asked_for_where_it_is_missing(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(ModelFileError, match=r'pip install "resnets\[convert\]"'):
        open_tensorflow(put(BY_TENSORFLOW))


MEASURE = """
import sys, time, torch
from pathlib import Path
from resnets.weights.formats.tensorflow_file import open_tensorflow
def resident(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1024
before = resident("VmRSS")
for path in sys.argv[1:]:
    start = time.process_time()
    for stored in open_tensorflow(Path(path)).tensors.values():
        stored.read()
    print(resident("VmHWM") - before, time.process_time() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process as Linux tells it")
def test_100_mb_are_read_tensor_by_tensor(put: Put) -> None:
    arrays = {f"t{n}": np.full((5, 2**19), n, np.float32) for n in range(10)}
    paths = put(bundle(arrays), "new"), put(old(arrays), "old")
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    for megabytes, seconds in (map(float, line.split()) for line in done.stdout.splitlines()):
        assert megabytes < 100
        assert seconds < 2
