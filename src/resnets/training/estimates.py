"""What the training images tell of a network: how well it has learnt them, and, out of fold, how well it would others.

Where a run starts from a trained body, its cached features answer more: what twice the photos would bring, and a
calibration where too few images are held out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from resnets.evaluation import calibrate
from resnets.evaluation.answers import answers, top1
from resnets.evaluation.estimate import out_of_fold
from resnets.evaluation.judging import Judgement
from resnets.evaluation.significance import interval
from resnets.inference import Classifier
from resnets.training.glance import LOOKED_AT, middle, taught
from resnets.training.learning import learning_curve
from resnets.training.prepared import Prepared
from resnets.training.setup import label_indices
from resnets.weights import Calibration

HEAD_ALONE = "the head alone"  # as it is called where there is a choice


def learnt(classifier: Classifier, prepared: Prepared) -> dict[str, Any]:
    """{"top1", "interval", "images", "how"} of training images, as the network is judged; of many, some."""
    pixels, labels = taught(prepared, LOOKED_AT)
    share = top1(answers(classifier.logits, pixels, len(classifier.classes), what=""), labels)
    how = "on images that it was trained on"
    return {"top1": share, "interval": list(interval(share, len(labels))), "images": len(labels), "how": how}


def estimate(prepared: Prepared, kept: str) -> dict[str, Any] | None:
    """What the answers out of fold come to; None where there are none. kept: the network that the model is of."""
    if prepared.start is None:
        return None
    logits, labels = prepared.start.head.out_of_fold, label_indices(prepared.train, prepared.record.classes)
    known = prepared.start.counts
    if not known.any():
        return None
    found = out_of_fold(logits[known], labels[known], prepared.record.classes).document()
    return found if kept == HEAD_ALONE else {**found, "how": f"by {HEAD_ALONE} {found['how']}"}


def together(prepared: Prepared, judgement: Judgement) -> Calibration:
    """A calibration of the head alone on the held-out images and, out of fold, the training images.

    It takes what is too few apart; still fewer than `calibration.FEWEST` calibrate nothing. Heads of folds know a part
    of the images only, so that the temperature is slightly too modest rather than too sure.
    """
    if prepared.start is None:
        return judgement.calibration
    logits, labels = prepared.start.head.out_of_fold, label_indices(prepared.train, prepared.record.classes)
    known = np.flatnonzero(prepared.start.counts)
    return calibrate(
        np.concatenate([judgement.pixels, middle(prepared, known)]),
        np.concatenate([judgement.logits, logits[known]]),
        np.concatenate([judgement.labels, labels[known]]),
    )


def gain(prepared: Prepared) -> dict[str, Any] | None:
    """What twice the photos would bring, by heads on what a trained body sees; None where it cannot be told."""
    if prepared.start is None or prepared.start.familiar:
        return None
    classes = prepared.record.classes
    labels, others = (label_indices(cache, classes) for cache in (prepared.train, prepared.held_out))
    curve = learning_curve(prepared.start.train, labels, prepared.start.held_out, others, prepared.record.asked.seed)
    return None if curve is None else curve.document()
