"""The library leaves the process that uses it as it found it, and works beside others in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import resnets

TESTS = Path(__file__).parent
# What packages that the export needs keep for themselves: ONNX Runtime a data base, OpenVINO a thread.
THEIRS = {"export": {"descriptors", "threads"}}


def python(*arguments: str, home: Path) -> str:
    paths = [str(TESTS), str(TESTS / "data"), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RESNETS_HOME": str(home)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


FEW = "names create train load predict evaluate doctor explain"  # of all public calls in tests/snapshot.py


@pytest.mark.parametrize("names", [FEW, pytest.param("", marks=pytest.mark.slow)], ids=["few", "all"])
def test_public_calls_leave_the_process_as_they_found_it(names, tmp_path):
    changes = json.loads(python(str(TESTS / "snapshot.py"), str(tmp_path), *names.split(), home=tmp_path))
    assert len(changes) >= 8
    for call, found in changes.items():
        left = {field: change for field, change in found.items() if field not in THEIRS.get(call, ())}
        assert not left, (call, left)


def test_what_is_compared_would_show():
    """The snapshot sees what it is there to see."""
    code = """
import json, os, random, signal, snapshot, threading, time, warnings
import matplotlib as mpl, numpy as np, torch
from PIL import Image
before = snapshot.take()
warnings.simplefilter("ignore")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
torch.set_num_threads(torch.get_num_threads() + 1)
os.environ["OMP_WAIT_POLICY"] = "passive"
random.random(), np.random.rand(), torch.rand(1)
Image.MAX_IMAGE_PIXELS = None
mpl.rcParams["font.size"] = 3
os.chdir("/"), os.umask(0o77)
file = open(os.devnull if not os.path.isdir("/proc/self/fd") else "{file}", "w")
thread = threading.Thread(target=time.sleep, args=(3,))
thread.start()
print(json.dumps(sorted(snapshot.differences(before, snapshot.take()))))
"""
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    shown = set(json.loads(python("-c", code.replace("{file}", str(folder / f"shown-{os.getpid()}")), home=folder)))
    (folder / f"shown-{os.getpid()}").unlink(missing_ok=True)
    wanted = {"warning filters", "signals", "torch", "environment", "random", "numpy random", "torch random", "pillow"}
    assert wanted | {"matplotlib", "folder", "umask", "threads"} <= shown


def test_the_allocator_is_set_by_the_verbs_alone():
    """It holds for a whole process: in Python only who asks gets it. `ours` and `following` have one of their own."""
    source = Path(resnets.__file__).parent
    callers = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"^ *(machine\.)?keep_memory\(\)", path.read_text(), re.MULTILINE)
    }
    assert callers == {f"cli/{verb}.py" for verb in ["train", "evaluate", "predict", "export", "doctor", "explain"]} | {
        "benchmark/ours.py",
        "training/following.py",
    }


BESIDE = """
import threading, time, warnings
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
import hostile, odd_files, random
from resnets.data.decode import decode
from resnets.errors import ImageError

kinds = ("JPEG with broken MPO", "broken EXIF", "animated PNG with wrong counts")
noisy = [odd_files.USABLE[kind][1](random.Random(0)) for kind in kinds]
noisy += [hostile.overlapping(50, 1000), odd_files.png(9500, 9500, 8, 0, b"")]
decode(noisy[0])
problems, stop, decoded = [], threading.Event(), 0

def decoding():
    global decoded
    while not stop.is_set():
        for data in noisy:
            try:
                decode(data)
            except ImageError:
                pass
            except BaseException as problem:
                problems.append(repr(problem))
            decoded += 1

def caught():
    while not stop.is_set():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            time.sleep(0.001)
        problems.extend(str(one.message) for one in seen if "PIL" in one.filename)

threads = [threading.Thread(target=decoding), threading.Thread(target=decoding), threading.Thread(target=caught)]
warnings.simplefilter("error", UserWarning)  # Pillow's are of this kind
for thread in threads:
    thread.start()
x, y = load_iris(return_X_y=True)
assert RandomForestClassifier(8, n_jobs=2, random_state=0).fit(x, y).score(x, y) > 0.9
assert cross_val_score(LogisticRegression(max_iter=500), x, y, n_jobs=2).mean() > 0.9
try:
    import pandas as pd
    assert pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}).groupby("a").mean().b.tolist() == [3.0, 4.0]
except ImportError:
    pass
figure = plt.figure()
figure.gca().plot(np.arange(10.0))
figure.savefig(__import__("io").BytesIO())
stop.set()
for thread in threads:
    thread.join()
assert not problems, problems[:3]
assert decoded > 10
for entry in warnings.filters:
    for part in (entry[1], entry[3]):
        assert part is None or isinstance(part, str) or hasattr(part, "pattern"), entry
print("beside")
"""


def test_others_work_beside_us_while_we_decode(tmp_path):
    assert python("-W", "error::UserWarning", "-c", BESIDE, home=tmp_path).strip() == "beside"
