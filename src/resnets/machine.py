"""The machine below: what it computes fastest in, how its memory is handed out, what a record says of it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import random
import re
import stat
import sys
from functools import cache
from importlib import import_module
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import Any

from resnets.errors import DataError, ParameterError, ResnetsError
from resnets.text import brief


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, and say whether that was possible (glibc only).

    By default glibc gives every large block back to the system and takes page faults for the next one; a
    training step allocates the same activations again and again. `benchmarks/step.py` measures it. It holds for the
    whole process and cannot be undone: the verbs of the command line do it, and a program that wants it calls it.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    m_mmap_max, m_trim_threshold, m_top_pad = -4, -1, -2  # <malloc.h>
    return all((mallopt(m_mmap_max, 0), mallopt(m_trim_threshold, -1), mallopt(m_top_pad, 64 << 20)))


def needs(module: str, extra: str) -> ModuleType:
    """A package that only some need. Raises ResnetsError with the command that installs the extra it belongs to."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ResnetsError(f'The package {package} is missing: pip install "resnets[{extra}]".') from error


def import_compiler() -> None:
    """Import torch's compiler, as torch's own optimisers do, and leave what else that changes as it was.

    It draws from Python's random numbers, and names its folder in the environment.
    """
    if "torch._dynamo" in sys.modules:
        return
    state, names = random.getstate(), set(os.environ)
    import_module("torch._dynamo")
    random.setstate(state)
    for name in os.environ.keys() - names:
        del os.environ[name]


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process. Raises ResnetsError where the package is missing.

    On a processor with AMX each Core brings a stack for signal handlers and puts the one before it back when it goes.
    Of two that go in the order they came, the second puts back the first one's, which is freed by then: the next
    signal, a Ctrl-C say, kills the process (OpenVINO 2026.4; tests/inference/test_engines.py shows it).
    """
    return needs("openvino", extra="export").Core()


def home() -> Path:
    """The folder of caches and downloads: ``$RESNETS_HOME``, else ``~/.cache/resnets``. May not exist yet.

    What lies in it can be deleted at any time; it is made or fetched again, but for weights and a registry.toml that
    somebody has put there.

    Raises DataError: this user has no home directory.
    """
    try:
        return Path(os.environ.get("RESNETS_HOME") or "~/.cache/resnets").expanduser()
    except RuntimeError as error:
        raise DataError("This user has no home directory: set RESNETS_HOME to a folder for the caches.") from error


def open_kept(path: Path) -> BufferedReader:
    """Open a file that lies in `home`, to read it; what nobody but this user can have put there.

    Raises OSError: there is none, it is no regular file (a pipe would hang), another user's, or one that all may write.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags), "rb")  # noqa: SIM115  (it is what is returned)
    info = os.fstat(file.fileno())
    foreign = hasattr(os, "geteuid") and (info.st_uid != os.geteuid() or bool(info.st_mode & stat.S_IWOTH))
    if not stat.S_ISREG(info.st_mode) or foreign:
        file.close()
        raise OSError(errno.EPERM, "not a regular file of this user alone", str(path))
    return file


def cores() -> int:
    """Cores that this process may use: a container's or a batch system's share of them is honoured."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that this process could still take, as far as the system tells; else half of all memory."""
    free = []
    try:
        free += [1024 * int(n) for n in re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())]
        limit, used, about = ((_GROUP / f"memory.{name}").read_text() for name in ("max", "current", "stat"))
        given_back = re.findall(r"^(?:in)?active_file (\d+)|^slab_reclaimable (\d+)", about, re.MULTILINE)
        cached = sum(int(file or slab) for file, slab in given_back)  # when it is asked for
        free += [max(0, int(limit) - int(used) + cached)]  # a container's limit; "max" is none
    except (OSError, ValueError):
        pass
    if not free and hasattr(os, "sysconf"):
        free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    return min(free, default=2**31)


_GROUP = Path("/sys/fs/cgroup")  # of a container
_SAID = ("can't allocate memory", "out of memory", "bad_alloc")  # torch has no class of its own for it on a processor


def ran_out(problem: BaseException) -> bool:
    """Whether an exception says that there was no more memory."""
    if isinstance(problem, RuntimeError):  # torch's own among them
        return any(words in str(problem).lower() for words in _SAID)
    return isinstance(problem, MemoryError)


@cache
def _processor() -> dict[str, str]:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


@cache
def processor_flags() -> frozenset[str]:
    """Instruction sets that Linux reports for the processor; empty where it does not say."""
    return frozenset(_processor().get("flags", "").split())


def int8_saturates() -> bool:
    """Whether sums of int8 products overflow 16 bits, as runtimes add them on x86 processors without VNNI."""
    flags = processor_flags()
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni", "amx_int8"}


def fastest_precision(device: str) -> str:
    """'bfloat16' where the hardware multiplies in it, else 'float32'. device: 'cpu', 'cuda', 'mps'."""
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # An AVX-512 processor without these emulates bfloat16, slower than float32.
    return "bfloat16" if device == "cpu" and processor_flags() & {"avx512_bf16", "amx_bf16"} else "float32"


def pick_device(wanted: str = "auto") -> str:
    """'cuda', 'mps' or 'cpu': the wanted one, or the fastest there is. Raises ParameterError for one not there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if wanted not in there:
        raise ParameterError(f"`device` is auto, {', '.join(there)}, not {brief(wanted)}.")
    if not there[wanted]:
        raise ParameterError(f"This machine, or this build of torch, has no {wanted}: leave `device` out.")
    return wanted


def describe() -> dict[str, Any]:
    """Processor, cores, system and versions, for the record of a run or a benchmark."""
    import numpy
    import PIL
    import torch

    found = {
        "processor": _processor().get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "bfloat16": sorted(processor_flags() & {"avx512_bf16", "amx_bf16"}),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
