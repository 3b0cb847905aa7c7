"""How honest are a model's probabilities on the held-out images of its data?

`python benchmarks/calibration.py MODEL DATA`: fits the calibration on the held-out images, and judges either half of
them by what was fitted on the other half, as `resnets evaluate` does; then fits on a random half and judges the other,
20 times. Prints JSON: the calibration error before and after the temperature, the coverage of the sets against the
stated 90 %, their size, and the share that is called unsure.
"""

import json
import sys

import numpy as np

from resnets.evaluation import evaluate
from resnets.evaluation.calibration import calibrate, fit_temperature, fit_threshold
from resnets.evaluation.metrics import ece, log_softmax
from resnets.machine import describe, keep_memory
from resnets.weights import Calibration

HALVES = 20


def figures(logits, labels, temperature, threshold):
    probabilities = np.exp(log_softmax(logits / temperature))
    sets = probabilities >= threshold
    return {
        "ece": ece(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels),
        "coverage": float(sets[np.arange(len(labels)), labels].mean()),
        "set_size": float(sets.sum(axis=1).mean()),
        "unsure": float((sets.sum(axis=1) != 1).mean()),
    }


def main(model, data):
    keep_memory()
    judgement = evaluate(model, data).judgement
    plain = judgement.calibrated(Calibration())
    own = plain.calibrated(calibrate(plain.pixels, plain.logits, plain.labels))
    random, found = np.random.default_rng(0), []
    for _ in range(HALVES):
        order = random.permutation(len(plain.labels))
        fitted, judged = order[: len(order) // 2], order[len(order) // 2 :]
        temperature = fit_temperature(plain.logits[fitted], plain.labels[fitted])
        probabilities = np.exp(log_softmax(plain.logits[fitted] / temperature))
        threshold = fit_threshold(probabilities[np.arange(len(fitted)), plain.labels[fitted]], 0.9)
        found.append(figures(plain.logits[judged], plain.labels[judged], temperature, threshold))
    rows = {key: [one[key] for one in found] for key in found[0]}
    kept = ("images", "top1", "ece", "coverage", "set_size", "unsure", "unlike")
    document = {
        "machine": describe(),
        "before": {key: plain.figures[key] for key in ("images", "top1", "ece")},
        "after, each half by the other": {key: own.figures[key] for key in kept},
        "temperature": own.temperature,
        "threshold": own.threshold,
        f"after, {HALVES} random halves": {
            key: {"mean": float(np.mean(v)), "least": min(v), "most": max(v)} for key, v in rows.items()
        },
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
