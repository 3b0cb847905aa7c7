"""What hostile pictures cost: seconds and megabytes above the interpreter, of every kind, each in a process of its own.

    python benchmarks/hostile.py --reader train

The kinds are made by tests/data/hostile.py. Readers: train (decode, resize, crop at 224 pixels), doctor, fast.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = Path(__file__).parent.parent / "tests" / "data"
sys.path.insert(0, str(FILES))


def peak():
    """Bytes of memory that this process has held at the most."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def read(reader, data):
    """What became of the file."""
    from resnets.data import fast_decode
    from resnets.data.preprocess import Preprocessing
    from resnets.diagnosis.files import look_at
    from resnets.errors import ImageError

    square = Preprocessing.evaluation(224)
    readers = {"train": square.read, "doctor": look_at, "fast": lambda data: fast_decode.read(square, data)}
    try:
        readers[reader](data)
        return "read"
    except ImageError as error:
        return str(error)


def one(reader, kind):
    """Measure one kind here."""
    import hostile

    path = Path(tempfile.gettempdir()) / f"hostile-{os.getpid()}"
    subprocess.run([sys.executable, __file__, "--write", str(path), "--kind", kind], check=True)
    read(reader, hostile.jpeg(300, 200))
    before, cpu, wall = peak(), time.process_time(), time.perf_counter()
    data = path.read_bytes()
    path.unlink()
    outcome = read(reader, data)
    row = [time.perf_counter() - wall, time.process_time() - cpu, (peak() - before) / 1e6, len(data) / 1e6, outcome]
    print(json.dumps(row))


def main():
    import hostile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=["train", "doctor", "fast"], default="train")
    parser.add_argument("--kind", help="this one alone, here")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        arguments.write.write_bytes(hostile.make(arguments.kind))
    elif arguments.kind:
        one(arguments.reader, arguments.kind)
    else:
        print(f"{'kind':56} {'seconds':>8} {'CPU':>6} {'MB':>5} {'file MB':>8}  outcome")
        for kind in [*hostile.REFUSED, *hostile.READ]:
            command = [sys.executable, __file__, "--reader", arguments.reader, "--kind", kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, cpu, most, size, outcome = json.loads(done.stdout)
            print(f"{kind:56} {seconds:8.2f} {cpu:6.2f} {most:5.0f} {size:8.2f}  {outcome}", flush=True)


if __name__ == "__main__":
    main()
