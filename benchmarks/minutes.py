"""Does `resnets train --minutes M` take M minutes, and is a run that was killed to the bit the run that was not?

    python benchmarks/minutes.py imagenette.zip --minutes 5 15

Each run is a process of its own, with a cache of its own unless --warm is given, and its time is that from its start to
its end. Its recorded schedule is then begun again in another folder, killed in the middle (kill -9), resumed, and its
model and checkpoint are compared with the first run's. What follows -- goes to `resnets train`.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from photos import parted
from safetensors import safe_open

from resnets import machine
from resnets.weights.run import CHECKPOINT, HEAD, MODEL, RECIPE, RECORD
from resnets.weights.runlog import read_log

TOLERANCE = 0.1  # of the time


def train(arguments, environment, log):
    """Begin `resnets train`; what it says goes to a file."""
    command = [sys.executable, "-m", "resnets", "train", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log.open("a"))


def steps_of(folder):
    """The steps that a run's log has so far."""
    return [line for line in read_log(folder) if line["kind"] == "step"] if (folder / "log.jsonl").exists() else []


def pace(folder, schedule):
    """(seconds of a step as foreseen, as found) at the size and kind of most of them."""
    sizes = {line["epoch"]: line["image_size"] for line in read_log(folder) if line["kind"] == "epoch"}
    foreseen = schedule["pace"]["steps"][-1]
    found = [one["seconds"] for one in steps_of(folder) if sizes.get(one["epoch"]) == foreseen["image_size"]]
    return foreseen["seconds"], statistics.median(found) if found else float("nan")


def again(run, into, environment, log):
    """The schedule of a run from its first step, killed after half of the steps, and resumed."""
    into.mkdir()
    record = json.loads((run / RECORD).read_text())
    for name in ("result", "so_far", "files"):
        record.pop(name, None)
    (into / RECORD).write_text(json.dumps(record))
    for name in (RECIPE, HEAD):
        if (run / name).exists():
            shutil.copy(run / name, into / name)
    process = train(["--resume", str(into)], environment, log)
    while process.poll() is None and len(steps_of(into)) < record["schedule"]["steps"] // 2:
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    at = len(steps_of(into))
    train(["--resume", str(into)], environment, log).wait()
    return at if killed else None


def differ(one, other):
    """Names of the tensors of two files that are not equal to the bit."""
    with safe_open(one, framework="np") as mine, safe_open(other, framework="np") as theirs:
        names = set(mine.keys()) | set(theirs.keys())
        both = set(mine.keys()) & set(theirs.keys())
        return [name for name in names if name not in both or not same(mine, theirs, name)]


def same(mine, theirs, name):
    return mine.get_tensor(name).tobytes() == theirs.get_tensor(name).tobytes()


def measure(data, minutes, folder, options, home):
    """One run, its repetition, and what is to be said of both."""
    environment = {**os.environ, **({"RESNETS_HOME": str(home)} if home else {})}
    run, log = folder / f"{minutes:g}-minutes", folder / f"{minutes:g}-minutes.txt"
    began = time.perf_counter()
    arguments = [data, "--minutes", str(minutes), "--out", str(run), *options]
    if train(arguments, environment, log).wait():
        sys.exit(f"it failed: see {log}")
    spent = (time.perf_counter() - began) / 60
    record = json.loads((run / RECORD).read_text())
    schedule = record["schedule"]
    foreseen, found = pace(run, schedule) if schedule["steps"] else (float("nan"), float("nan"))
    at = again(run, folder / f"{minutes:g}-killed", environment, log)
    files = [name for name in (MODEL, CHECKPOINT) if (run / name).exists()]
    other = [name for name in files if differ(run / name, folder / f"{minutes:g}-killed" / name)]
    return {
        "minutes": minutes,
        "spent": spent,
        "holds": abs(spent / minutes - 1) <= TOLERANCE,
        "steps": schedule["steps"],
        "epochs": record["epochs"],
        "refitted": schedule["refitted"],
        "foreseen": foreseen,
        "found": found,
        "top1": record["result"]["top1"],
        "killed_at": at,
        "differ": other,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 15])
    parser.add_argument("--out", type=Path, help="where the runs are kept; default: nowhere")
    parser.add_argument("--warm", action="store_true", help="use the cache that there is")
    parser.add_argument("--json", action="store_true")
    own, options = parted(sys.argv[1:])
    arguments = parser.parse_args(own)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary) / "runs"
        folder.mkdir(parents=True)
        rows = []
        for minutes in arguments.minutes:
            home = None if arguments.warm else Path(temporary) / f"home-{minutes:g}"
            rows.append(measure(arguments.data, minutes, folder, options, home))
    if arguments.json:
        print(json.dumps({"machine": machine.describe(), "rows": rows}, indent=2))
    else:
        show(rows)
    sys.exit(0 if all(row["holds"] and not row["differ"] for row in rows) else 1)


def show(rows):
    print("| asked | spent | steps | s a step, foreseen | found | refitted | top-1 | killed at | the same bits |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        cut = "; ".join(f"at {one['step']} to {one['to']}" for one in row["refitted"]) or "no"
        bits = "yes" if not row["differ"] else f"not in {', '.join(row['differ'])}"
        print(
            f"| {row['minutes']:g} min | {row['spent']:.2f} min ({row['spent'] / row['minutes'] - 1:+.1%}) | "
            f"{row['steps']:,} | {row['foreseen']:.3f} | {row['found']:.3f} | {cut} | {row['top1']:.2%} | "
            f"step {row['killed_at']} | {bits} |"
        )
    print(f"\n{machine.describe()}")


if __name__ == "__main__":
    main()
