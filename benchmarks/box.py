"""The model in the box: a run of `resnets train` as the small file that comes with the package, judged.

    resnets train cifar10.zip --model resnet20 --weights none --recipe cifar-fast --epochs 20 --set shift=4 \
        --set learning_rate=0.02 --out runs/box
    python benchmarks/box.py runs/box cifar10.zip src/resnets/weights/box.safetensors

Weights are stored in float16. What tells which images it was trained on and fitted on (60,000 digests) stays out, so
that the file is a third as large; who judges it on CIFAR-10 should take the test images.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import resnets
from resnets.weights import load


def small(run):
    """The model of a run without what knows its images again."""
    model = load(run)
    dataset = {key: value for key, value in model.provenance.dataset.items() if key != "contents"}
    return dataclasses.replace(
        model,
        provenance=dataclasses.replace(model.provenance, dataset=dataset),
        calibration=dataclasses.replace(model.calibration, fitted_on=(), halves=()),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.safetensors"
        resnets.save(small(arguments.run), whole)
        resnets.save(whole, arguments.out, precision="float16")
        for name, path in (("float32", whole), ("float16", arguments.out)):
            found = resnets.evaluate(path, arguments.data, "test")
            low, high = found.top1_interval
            size = path.stat().st_size
            print(
                f"{name}: {size:,} bytes, top-1 {found.top1:.2%} ({low:.2%} to {high:.2%}) of {found.images:,} images"
            )
            print(f"  coverage {found.coverage:.2%} (stated {found.stated_coverage:.0%}), unlike {found.unlike:.2%}")


if __name__ == "__main__":
    main()
