"""Every script of examples/ runs as its first lines say, and says what it should."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resnets

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def said(name, *arguments, cwd, launcher=()):
    """What a script prints; it must end well and write no word to standard error but the library's progress."""
    command = [sys.executable, *launcher, EXAMPLES / name, *arguments]
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """One of the digits, as a file."""
    from sklearn.datasets import load_digits

    path = tmp_path_factory.mktemp("picture") / "three.png"
    found = load_digits()
    image = found.images[list(found.target).index(3)]
    Image.fromarray((image * 255 / 16).astype(np.uint8)).save(path)
    return path


def test_dense_features_segment(tmp_path):
    out = said("segmentation.py", cwd=tmp_path)
    assert "maps of (4, 4) for pictures of 32 pixels" in out
    assert number(r"union ([\d.]+)", out) > 0.4


def test_a_network_of_ones_own(tmp_path):
    out = said("own_network.py", cwd=tmp_path)
    assert "logits (2, 10), drawn in mine.svg" in out
    assert "stage1.unit1.norm1" in out
    assert "is refused: " in out
    assert (tmp_path / "mine.svg").read_text().startswith("<svg")


def test_a_plain_loop_learns(tmp_path):
    assert number(r"top-1 ([\d.]+) %", said("plain_loop.py", cwd=tmp_path)) > 85


def test_an_observer_keeps_the_best(tmp_path):
    out = said("callback.py", cwd=tmp_path)
    best = number(r"best ([\d.]+) of 3 epochs", out)
    rows = (tmp_path / "epochs.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,top1"
    assert max(float(row.split(",")[2]) for row in rows[1:]) == best
    assert (tmp_path / "best.pt").exists()


def test_a_student_learns_without_labels(trained, tmp_path):
    out = said("distil.py", trained, cwd=tmp_path)
    assert number(r"agrees with the teacher on ([\d.]+)%", out) > 75


def test_the_nearest_picture_is_the_picture_itself(trained, photo_folder, tmp_path):
    folder = photo_folder()
    lines = said("search.py", trained, folder, folder / "dog" / "2.jpg", cwd=tmp_path).splitlines()
    assert lines[0] == f"1.000  {folder / 'dog' / '2.jpg'}"
    assert len(lines) == 5


def test_an_exported_file_alone(trained, picture, tmp_path):
    resnets.export(trained, tmp_path / "m.onnx")
    blocked = "import sys; sys.modules['torch'] = sys.modules['resnets'] = None; import runpy; del sys.argv[0];"
    command = [sys.executable, "-c", f"{blocked} runpy.run_path(sys.argv[0], run_name='__main__')"]
    command += [str(EXAMPLES / "onnx_alone.py"), "m.onnx", str(picture)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    name, probability = resnets.load(trained).predict(picture)[0].top[0]
    assert done.stdout.startswith(f"{picture}: {name} {probability:.1%}")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_model_file_by_its_specification_alone(trained, tmp_path, precision):
    resnets.save(trained, tmp_path / "m.safetensors", precision=precision)
    out = said("model_file_alone.py", "m.safetensors", cwd=tmp_path)
    classifier = resnets.load(trained)
    numbers = sum(one.numel() for one in classifier.network.state_dict().values())
    assert f"{numbers:,} numbers, the hash agrees" in out
    assert f"classes: {', '.join(classifier.classes)}" in out

    data = bytearray((tmp_path / "m.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    command = [sys.executable, EXAMPLES / "model_file_alone.py", tmp_path / "bad.safetensors"]
    assert b"is damaged" in subprocess.run(command, capture_output=True, check=False).stderr


def test_predictions_over_http(trained, picture, tmp_path):
    command = [sys.executable, str(EXAMPLES / "serve.py"), trained, "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            with urllib.request.urlopen(urllib.request.Request(address, picture.read_bytes())) as answer:
                given = json.load(answer)
            assert given["top"][0]["name"] == resnets.load(trained).predict(picture)[0].top[0][0]
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(urllib.request.Request(address, b"no picture"))
        finally:
            server.kill()


def test_two_processes_have_the_gradients_of_one(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = said("two_processes.py", cwd=tmp_path, launcher=launcher)
    assert number(r"2 processes differ from one by ([\d.e+-]+)", out) < 1e-5


def test_each_script_is_listed_and_tested():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert len(scripts) == 10
    assert set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text())) == scripts
    assert set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text())) == scripts


def test_each_script_says_how_it_is_called():
    for path in EXAMPLES.glob("*.py"):
        assert f"examples/{path.name}" in path.read_text().split('"""')[1], path
        assert os.path.getsize(path) < 3500
