"""Exported files on disks that are full, cut off, or beside the .bin of another."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from processes import Started
from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.errors import ExportError
from resnets.inference import Classifier
from resnets.inference.export import METADATA, write
from resnets.inference.readback import runtimes
from resnets.machine import openvino_core
from resnets.network import create
from resnets.weights import Model, load, save

SPEC = ResNetSpec(depths=(1,), widths=(16,), stem="cifar", stem_width=16)


def model(seed: int = 0) -> Model:
    return Model(create(SPEC, num_classes=3, seed=seed).eval(), ("a", "b", "c"), Preprocessing.evaluation(8))


def small_files() -> None:
    """As on a disk that is full: a file takes 10,000 bytes and no more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


@pytest.mark.parametrize("suffix", ["onnx", "xml", "pt2"])
def test_a_file_that_takes_no_more_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "m.safetensors", model())
    (tmp_path / f"m.{suffix}").write_text("what stood there")
    process = Started("export", "m.safetensors", f"m.{suffix}", cwd=tmp_path, before=small_files)
    out, err = process.communicate(120)
    assert (process.returncode, out) == (2, "")
    said = err.splitlines()[-1]
    assert said.startswith(f"error: m.{suffix} cannot be written (")
    assert "Traceback" not in err
    assert (tmp_path / f"m.{suffix}").read_text() == "what stood there"
    assert len(list(tmp_path.iterdir())) == 2, "nothing is left behind"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "xml", "pt2"])
def test_a_disk_that_is_full_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "m.safetensors", model())
    (tmp_path / "disk").mkdir()
    verb = f"{sys.executable} -m resnets export m.safetensors disk/m.{suffix}"
    script = f"mount -t tmpfs -o size=12k disk disk || exit 77; {verb}; echo $?; ls -A disk"
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    assert done.stdout == "2\n"
    assert f"error: disk/m.{suffix} cannot be written (" in done.stderr


@pytest.mark.parametrize("cut", ["m.onnx", "m.xml", "m.bin", "m.pt2"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, cut: str) -> None:
    classifier = Classifier(model())
    path = tmp_path / cut.replace(".bin", ".xml")
    write(path, classifier, precision="float32")
    data = (tmp_path / cut).read_bytes()
    for size in (0, 1, len(data) // 3, len(data) // 2, len(data) - 200, len(data.rstrip(b"\n")) - 1):
        (tmp_path / cut).write_bytes(data[:size])
        with pytest.raises(ExportError) as caught:
            runtimes(path, classifier.preprocessing, "float32")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith((f"{path.name}: ", "m.bin is not what m.xml was written with: "))


def test_an_xml_beside_the_bin_of_another_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        write(tmp_path / f"{seed}.xml", Classifier(model(seed)), precision="float32")
    one, other = (tmp_path / f"{seed}.bin" for seed in (0, 1))
    assert one.stat().st_size == other.stat().st_size
    preprocessing = model().preprocessing
    assert runtimes(tmp_path / "0.xml", preprocessing, "float32")
    shutil.copy(other, one)
    with pytest.raises(ExportError, match=r"0\.bin is not what 0\.xml was written with: export again"):
        runtimes(tmp_path / "0.xml", preprocessing, "float32")
    assert "not checked" not in capsys.readouterr().err


def test_an_xml_of_other_tools_runs_and_is_said_to_be_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openvino = pytest.importorskip("openvino")
    classifier = Classifier(model())
    write(tmp_path / "m.onnx", classifier, precision="float32")
    openvino.save_model(openvino.Core().read_model(tmp_path / "m.onnx"), tmp_path / "m.xml", compress_to_fp16=False)
    (opened,) = runtimes(tmp_path / "m.xml", classifier.preprocessing, "float32")
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8).numpy()
    assert torch.allclose(opened.logits(pixels), classifier.logits(pixels), atol=1e-3)
    assert "m.xml names no hash of its .bin: that the two belong together is not checked." in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["onnx", "xml", "pt2"])
def test_classes_may_be_called_anything(tmp_path: Path, suffix: str) -> None:
    classes = ("\ud800", "\x1b[2J\0\n\u202e", '"<![CDATA[$x^{')
    named = dataclasses.replace(model(), classes=classes)
    save(tmp_path / "m.safetensors", named)
    assert load(tmp_path / "m.safetensors").classes == classes
    path = tmp_path / f"m.{suffix}"
    write(path, Classifier(named), precision="float32")
    if suffix == "onnx":
        found = {one.key: one.value for one in onnx.load(path).metadata_props}["classes"]
    elif suffix == "xml":
        found = openvino_core().read_model(path).get_rt_info(["resnets", "classes"]).astype(str)
    else:
        extra = {METADATA: ""}
        torch.export.load(path, extra_files=extra)
        found = json.loads(extra[METADATA])["classes"]
    assert tuple(json.loads(found)) == classes
