"""From photos in files to a parquet of labels: `resnets predict` against a loop as timm's inference script has it.

    python benchmarks/bulk.py imagenette2/val runs/imagenette/model.safetensors --data imagenette2 --rounds 3

Every variant is a process of its own on the same folder, in alternating rounds; medians. "whole" is from the start of
the process to its end; "running" is that without what the same command takes for a folder of one photo: starting
Python, loading the model, setting the engine up, calibrating. Ratios are to timm's figure of the same kind.

The peer: timm.create_model and timm's own data set and loader with that script's defaults (batches of 256, two
workers, float32, as it is), softmax and top-5 of every batch, one table written at the end. Its weights are random,
of the same network and number of classes. Needs timm, torchvision, pandas and pyarrow.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from resnets import machine

VARIANTS = {
    "float32": ["--precision", "float32"],
    "bfloat16": ["--precision", "bfloat16"],
    "bfloat16, fast decode": ["--precision", "bfloat16", "--fast-decode"],
    "int8": ["--precision", "int8"],
    "int8, fast decode": ["--precision", "int8", "--fast-decode"],
}
PEER = "timm"


def peer(folder, network, classes, out):
    """The loop of the peer, in this process."""
    import torch

    from resnets.benchmark.peers import torchvision

    torchvision()  # which timm imports; beside a CPU torch it needs help
    import numpy as np
    import pandas as pd
    import timm
    from timm.data import create_dataset, create_loader, resolve_data_config

    model = timm.create_model(network, num_classes=int(classes)).eval()
    dataset = create_dataset("", root=folder, is_training=False)
    config = resolve_data_config({}, model=model)
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=256,
        num_workers=2,
        device=torch.device("cpu"),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
    )
    found = []
    with torch.inference_mode():
        for images, _ in loader:
            top = model(images).softmax(-1).topk(5)
            found.append(np.concatenate([top.indices.numpy(), top.values.numpy()], axis=1))
    names = [f"{what}_{rank}" for what in ("label", "probability") for rank in range(1, 6)]
    columns = {"path": dataset.filenames(), **dict(zip(names, np.concatenate(found).T, strict=True))}
    pd.DataFrame(columns).to_parquet(out)


def seconds(command, out, photos):
    """Of a process that writes the table `out`, which must have a row for every photo."""
    import pyarrow.parquet

    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    rows = pyarrow.parquet.read_metadata(out).num_rows
    if rows != photos:
        sys.exit(f"{' '.join(command)}\nwrote {rows} rows for {photos} photos")
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="JPEG files, in a folder for each class")
    parser.add_argument("model", type=Path, help="a model file")
    parser.add_argument("--data", help="what int8 is calibrated and judged with")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="some of the variants, with | between them")
    parser.add_argument("--photos", type=int, help="no more than so many, spread over the folder")
    parser.add_argument("--out", type=Path, help="write the figures (JSON) there")
    parser.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    from resnets.architecture.catalog import name_of
    from resnets.weights import load

    plan = load(arguments.model).network.plan
    chosen = arguments.only.split("|") if arguments.only else list(VARIANTS)
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    files = files[:: max(1, len(files) // arguments.photos)][: arguments.photos] if arguments.photos else files
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        sets = {"whole": (linked(files, place / "photos"), len(files)), "start": (linked(files[:1], place / "one"), 1)}

        def once(who, kind):
            photos, count = sets[kind]
            shutil.rmtree(place / "out", ignore_errors=True)  # a table that is there would be gone on with
            (place / "out").mkdir()
            out = place / "out" / "labels.parquet"
            if who == PEER:
                command = [sys.executable, __file__, *map(str, (arguments.folder, arguments.model)), "--peer"]
                command += [str(photos), name_of(plan.spec), str(plan.num_classes), str(out)]
            else:
                command = [sys.executable, "-m", "resnets", "predict", str(arguments.model), str(photos)]
                command += ["--out", str(out), "--engine", arguments.engine, *VARIANTS[who]]
                if "int8" in who and arguments.data:
                    command += ["--data", arguments.data]
            return seconds(command, out, count)

        took = {who: {"whole": [], "running": []} for who in (PEER, *chosen)}
        for number in range(arguments.rounds):
            for who, times in took.items():
                start, whole = once(who, "start"), once(who, "whole")
                times["whole"].append(whole)
                times["running"].append(whole - start)
                news = f"round {number + 1}: {who} {whole:.1f} s, of which start {start:.1f} s"
                print(news, file=sys.stderr, flush=True)

    medians = {who: {kind: statistics.median(values) for kind, values in times.items()} for who, times in took.items()}
    result = {"machine": machine.describe(), "photos": len(files), "network": name_of(plan.spec), "seconds": took}
    result["ratios"] = {
        who: {kind: medians[PEER][kind] / value for kind, value in times.items()} for who, times in medians.items()
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['machine']['processor']}, {machine.cores()} cores; {len(files):,} photos, {result['network']}\n")
    print("| | whole, s | ratio | running, s | ratio | images/s |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for who, times in medians.items():
        cells = [PEER if who == PEER else f"resnets {who}"]
        for kind in ("whole", "running"):
            cells += [f"{times[kind]:.1f}", f"{result['ratios'][who][kind]:.2f}"]
        print(f"| {' | '.join(cells)} | {len(files) / times['whole']:.0f} |")


def linked(files, folder):
    """A folder with links to the files, in the folders of their classes."""
    for path in files:
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())
    return folder


if __name__ == "__main__":
    if "--peer" in sys.argv:
        peer(*sys.argv[sys.argv.index("--peer") + 1 :])
    else:
        main()
