"""How well is what is unlike all training images told from images like them?

`python benchmarks/unlike.py MODEL DATA`: half of the held-out images of DATA are fitted on; the other half must be told
from handwritten digits and from noise. Prints JSON: the area under the ROC curve of the model's own score and of the
usual ones from logits (energy: Liu et al. 2020) and features (Mahalanobis: Lee et al. 2018; nearest neighbours: Sun et
al. 2022), and which shares the fitted limit calls unlike.
"""

import json
import sys

import numpy as np
import torch
from PIL import Image
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from resnets.data.cache import cached
from resnets.data.open import open_source
from resnets.evaluation.held_out import choose
from resnets.inference import load, novelty
from resnets.machine import describe, keep_memory

MOST, STRANGE = 4000, 500  # images like those of DATA, and of each kind unlike them


def strangers(preprocessing):
    random, side = np.random.default_rng(0), preprocessing.image_size

    def seen(pictures):
        return np.stack([preprocessing.pixels(Image.fromarray(p.astype(np.uint8)).convert("RGB")) for p in pictures])

    def noise(*shape):
        return random.integers(0, 256, (STRANGE, *shape, 3))

    coarse = [np.asarray(Image.fromarray(p.astype(np.uint8)).resize((side, side), 3)) for p in noise(8, 8)]
    return {
        "digits": seen(load_digits().images[:STRANGE] * 255 / 16),
        "uniform noise": noise(side, side).astype(np.uint8),
        "Gaussian noise": random.normal(128, 40, (STRANGE, side, side, 3)).clip(0, 255).astype(np.uint8),
        "noise of 224 pixels": seen(noise(224, 224)[:200]),
        "smooth noise": np.stack(coarse),
        "plain colours": np.broadcast_to(noise(1, 1), (STRANGE, side, side, 3)).astype(np.uint8),
    }


@torch.inference_mode()
def answers(classifier, pixels):
    logits, features = [], []
    for first in range(0, len(pixels), 64):
        batch = classifier.preprocessing.normalise(torch.from_numpy(np.array(pixels[first : first + 64])))
        maps = list(classifier.network.features(batch).values())[-1]
        features.append(maps.mean((2, 3)).numpy())
        logits.append(classifier.logits(pixels[first : first + 64]).numpy())
    return np.concatenate(logits).astype(float), np.concatenate(features).astype(float)


def main(model, data):
    keep_memory()
    classifier = load(model)
    source = open_source(data)
    _, samples = choose(source, classifier.provenance, None)
    samples = np.random.default_rng(0).permutation(np.array(samples, object))[:MOST]
    known = cached(source, list(samples), classifier.preprocessing).images
    fitted, judged = known[::2], known[1::2]
    kinds = {"known": judged, **strangers(classifier.preprocessing)}
    usual = novelty.fit(fitted)
    logits, features = answers(classifier, fitted)
    mean, precision = features.mean(0), LedoitWolf().fit(features).precision_

    def unit(values):
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    near = NearestNeighbors(n_neighbors=10).fit(unit(features))
    scores = {"looks (ours)": {}, "energy": {}, "Mahalanobis, features": {}, "10th neighbour, features": {}}
    for kind, pixels in kinds.items():
        logits, features = answers(classifier, pixels)
        off = features - mean
        found = (
            novelty.score(pixels, usual),
            -np.logaddexp.reduce(logits, axis=1),
            np.einsum("ni,ij,nj->n", off, precision, off),
            near.kneighbors(unit(features))[0][:, -1],
        )
        for score, values in zip(scores.values(), found, strict=True):
            score[kind] = values
    document = {
        "machine": describe(),
        "fitted": len(fitted),
        "judged": len(judged),
        "auroc": {
            name: {
                kind: roc_auc_score(np.r_[np.zeros(len(judged)), np.ones(len(values))], np.r_[score["known"], values])
                for kind, values in score.items()
                if kind != "known"
            }
            for name, score in scores.items()
        },
        "called unlike": {kind: float((values > 1).mean()) for kind, values in scores["looks (ours)"].items()},
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
