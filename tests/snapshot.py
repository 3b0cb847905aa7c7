"""What a process is, as far as a library can change it: `take` before and after, compared by `differences`.

Run as a program, it goes through every public call of resnets and prints what each has changed, as JSON.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import locale
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

FLAGS = """
get_num_threads get_num_interop_threads is_grad_enabled is_inference_mode_enabled get_default_dtype
are_deterministic_algorithms_enabled is_deterministic_algorithms_warn_only_enabled get_float32_matmul_precision
is_autocast_enabled initial_seed is_warn_always_enabled get_default_device
"""
BACKENDS = "mkldnn.enabled mkldnn.deterministic mkldnn.allow_tf32 cudnn.benchmark cudnn.deterministic cudnn.enabled"
NO_MATTER = ("/dev/", "/proc/", "/usr/", "/lib", ".so", "anon_inode")  # descriptors of libraries that were loaded


def filters() -> list[str]:
    return [repr(entry) for entry in warnings.filters]


def descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # that of the listing itself
            continue
    return sorted(path for path in found if not any(part in path for part in NO_MATTER))


def handlers() -> dict[str, str]:
    return {one.name: repr(signal.getsignal(one)) for one in signal.Signals}


def loggers() -> dict[str, object]:
    root = logging.getLogger()
    return {"level": root.level, "handlers": [repr(one) for one in root.handlers], "off": root.manager.disable}


def torch_flags() -> dict[str, str]:
    found = {name: repr(getattr(torch, name)()) for name in FLAGS.split() if hasattr(torch, name)}
    for name in BACKENDS.split():
        backend, flag = name.split(".")
        found[name] = repr(getattr(getattr(torch.backends, backend), flag, None))
    found["sharing"] = torch.multiprocessing.get_sharing_strategy()
    for module in ("torch._inductor.config", "torch._dynamo.config"):
        if module in sys.modules:
            found[module] = repr(sorted(sys.modules[module].get_config_copy().items(), key=lambda pair: pair[0]))
    return found


def pillow() -> dict[str, object]:
    from PIL import Image, ImageFile, PngImagePlugin

    return {
        "pixels": Image.MAX_IMAGE_PIXELS,
        "truncated": ImageFile.LOAD_TRUNCATED_IMAGES,
        "text": (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY),
        "readers": {name: repr(entry) for name, entry in Image.OPEN.items()},
    }


def matplotlib() -> dict[str, str]:
    import matplotlib as mpl

    return {"parameters": repr(dict(mpl.rcParams)), "figures": repr("matplotlib.pyplot" in sys.modules)}


def pools() -> list[str]:
    from threadpoolctl import threadpool_info

    return sorted(f"{one['user_api']} {one['num_threads']}" for one in threadpool_info())


FIELDS: dict[str, Callable[[], object]] = {
    "warning filters": filters,
    "signals": handlers,
    "torch": torch_flags,
    "thread pools": pools,
    "environment": lambda: dict(os.environ),
    "random": lambda: hash(random.getstate()),
    "numpy random": lambda: hash(np.random.get_state()[1].tobytes()) + np.random.get_state()[2],
    "torch random": lambda: hash(torch.get_rng_state().numpy().tobytes()),
    "numpy": lambda: [np.geterr(), np.get_printoptions()],
    "logging": loggers,
    "pillow": pillow,
    "matplotlib": matplotlib,
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "folder": os.getcwd,
    "umask": lambda: [os.umask(mask := os.umask(0)), mask][1],
    "path": lambda: list(sys.path),
    "hooks": lambda: list(map(repr, (sys.excepthook, threading.excepthook, sys.displayhook, warnings.showwarning))),
    "streams": lambda: [id(sys.stdout), id(sys.stderr), id(sys.stdin)],
    "faults": faulthandler.is_enabled,
    "collector": lambda: [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
    "recursion": sys.getrecursionlimit,
    "switching": sys.getswitchinterval,
    "descriptors": descriptors,
    "threads": lambda: sorted(thread.name for thread in threading.enumerate()),
}


def take() -> dict[str, object]:
    gc.collect()
    for _ in range(50):  # a thread that has been told to end may take a moment
        if threading.active_count() == 1:
            break
        time.sleep(0.02)
    return {name: read() for name, read in FIELDS.items()}


def differences(before: dict[str, object], after: dict[str, object]) -> dict[str, str]:
    """What is not as it was, in words."""
    found = {}
    for name, now in after.items():
        then = before[name]
        if isinstance(now, dict) and isinstance(then, dict):
            keys = [key for key in now.keys() | then.keys() if now.get(key) != then.get(key)]
            if name == "torch":  # a part of torch that has just been imported had no settings before
                keys = [key for key in keys if key in then]
            if keys:
                found[name] = "; ".join(f"{key}: {then.get(key)!r:.200} -> {now.get(key)!r:.200}" for key in keys)
        elif now != then:
            found[name] = f"{then!r:.300} -> {now!r:.300}"
    return found


def calls(folder: Path) -> list[tuple[str, Callable[[], object]]]:
    """Every public call, on a small training of digits."""
    import resnets
    from resnets import ResNetSpec, training

    spec = ResNetSpec(depths=(1, 1), widths=(8, 16), stem="cifar", block="basic")
    run, made = folder / "run", {}

    def photos() -> str:
        from PIL import Image

        for number in range(24):
            path = folder / "photos" / ("cat", "dog")[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
        return str(folder / "photos")

    data = photos()
    picture = f"{data}/cat/0.jpg"

    def load() -> object:
        made["classifier"] = resnets.load(str(run))
        return made["classifier"]

    model = str(run / "model.safetensors")
    short = {"against": [], "engines": ["torch"], "precisions": ["float32"], "batches": [1], "rounds": 1}
    return [
        ("names", lambda: resnets.names("resnet*")),
        ("plan", lambda: resnets.plan("resnet18", image_size=64)),
        ("create", lambda: resnets.create("resnet18", num_classes=3, seed=0)(torch.zeros(1, 3, 64, 64))),
        ("train", lambda: resnets.train("digits", model=spec, epochs=1, out=run)),
        ("resume", lambda: training.resume(run)),
        ("train on photos", lambda: resnets.train(data, model=spec, epochs=1, out=folder / "second")),
        ("load", load),
        ("predict", lambda: made["classifier"].predict(picture)),
        ("predict from a file", lambda: resnets.predict(model, [picture])),
        ("evaluate", lambda: resnets.evaluate(model, "digits")),
        ("doctor", lambda: resnets.doctor(data)),
        ("explain", lambda: resnets.explain(model, picture)),
        ("save", lambda: resnets.save(made["classifier"], folder / "saved.safetensors")),
        ("export", lambda: resnets.export(model, folder / "model.onnx")),
        ("convert", lambda: resnets.convert(model, folder / "converted.safetensors")),
        (
            "bench",
            lambda: resnets.bench([model], **short, seconds=0.05),
        ),
    ]


def main() -> None:
    folder = Path(sys.argv[1])
    for name in ["PIL.Image", "matplotlib", "sklearn.linear_model", "threadpoolctl", "scipy.stats", "sympy"]:
        importlib.import_module(name)
    from PIL import Image

    Image.init()  # what a program registers that reads pictures at all
    found: dict[str, object] = {}
    for name, call in calls(folder):
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        before = take()
        try:
            call()
        except Exception as problem:
            found[name] = {"error": f"{type(problem).__name__}: {problem}"}
            continue
        found[name] = differences(before, take())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
