"""How long does a table of a million rows take to be listed, and how much memory?

    python benchmarks/listing.py
    python benchmarks/listing.py --rows 100000 --rounds 5

For .csv and .parquet: rows of a path and a label, whose pictures lie as empty files in a thousand folders, so that each
path is asked of the file system as a real one is. Each round is a fresh process; its memory is the peak beyond what it
held once the library was imported. --files says how many of the pictures are there; the rest are named as missing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from resnets import machine

LIST = """
import sys, time
from resnets.data.open import open_source
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmHWM"))
before, began = peak(), time.perf_counter()
source = open_source(sys.argv[1])
print(len(source.samples), time.perf_counter() - began, peak() - before)
"""


def write(folder, rows, files):
    """The tables and the pictures that they name: the paths of `files` of them lead somewhere, in turn."""
    keys = [f"{number % files % 1000:03}/{number % files:07}.jpg" for number in range(rows)]
    for key in keys[:files]:
        place = folder / key
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"")
    keys = [key if number < files else f"gone/{number:07}.jpg" for number, key in enumerate(keys)]
    labels = ["cat" if number % 2 else "dog" for number in range(rows)]
    lines = (f"{key},{label}\n" for key, label in zip(keys, labels, strict=True))
    (folder / "labels.csv").write_text("file,label\n" + "".join(lines))
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"file": keys, "label": labels}), folder / "labels.parquet")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=100_000, help="how many of the pictures are there")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(machine.describe()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, arguments.rows, min(arguments.files, arguments.rows))
        print("| table | rows | samples | seconds, median (least to most) | MB, most |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for ending in ("csv", "parquet"):
            found = []
            for _ in range(arguments.rounds):
                command = [sys.executable, "-c", LIST, str(folder / f"labels.{ending}")]
                found.append(list(map(float, subprocess.check_output(command, text=True).split())))
            seconds = [one[1] for one in found]
            print(
                f"| .{ending} | {arguments.rows:,} | {found[0][0]:,.0f} | {statistics.median(seconds):.1f} "
                f"({min(seconds):.1f} to {max(seconds):.1f}) | {max(one[2] for one in found):,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
