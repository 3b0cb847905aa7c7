"""What next? One paragraph on what a model is worth, what limits it most, and the one command that may help most.

The limits are tried in order, each a question to what was measured: images of another kind, guessing, a learning rate
that was too high, norms that do not hold, a training that has not come to its end, wrong labels, one confused pair of
classes, images known by heart, too few of them, classes that are missed. What passes all of them is good enough to be
used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resnets.data.reading import USUAL, Reading
from resnets.evaluation.case import Case, Next
from resnets.evaluation.course import Course
from resnets.evaluation.guessing import better, worth
from resnets.evaluation.judging import Judgement
from resnets.evaluation.noise import mistaken
from resnets.evaluation.significance import LEVEL
from resnets.text import printable, some, typed

KNOWS, LEARNT = 0.7, 0.1  # of `Case.excess`: below the first something was learnt, below the second all
FALLING = 0.03  # share of its loss that the last fifth of a training may still take away at its end
RISEN = 0.1  # share by which the held-out loss may lie above its least
APART = 0.1  # by which training images may be known better than others
LIKELY, LABELS, SHARE = 0.5, 3, 0.25  # probability of a wrong label; so many of them; their share of the mistakes
PAIR, OFTEN = 5, 0.4  # mistakes between two classes, and their share of all, from which on they are what limits it
LARGEST = 1_000_000  # answers, up to which labels are doubted
WORTH_IT = 0.01  # of top-1, that twice the photos should bring at least
SMALL_BATCH = 32
UNEQUAL = 1.5  # times its share of equal classes that the commonest has, from which on they are unequal
GOOD = 0.8  # of top-1's lower end, from which on a model is used without a look at its mistakes


def what_next(
    judgement: Judgement, course: Course | None, data: str, model: str, reading: Reading = USUAL, own: bool = False
) -> Next:
    """The paragraph on a judgement by images that the model was not trained on; arguments as in `Case`."""
    case = Case(judgement, judgement.figures, course, data, model, reading, own)
    found = next(answer for limit in _LIMITS if (answer := limit(case)) is not None)
    return Next(f"{worth(case.figures)} {found.says}", found.limit, found.command, found.gain)


def _other_images(case: Case) -> Next | None:
    """What its training held out it knows better, beyond chance."""
    before = None if case.course is None else case.course.result
    if before is None or before.top1_interval is None or case.figures["top1_interval"][1] >= before.top1_interval[0]:
        return None
    said = f"Its training was right on {100 * before.top1:.0f} % of what it held out: these are images of another "
    said += "kind, or some of their labels are wrong."
    return Next(said, "other_images", case.doctor())


def _guessing(case: Case) -> Next | None:
    figures, course = case.figures, case.course
    if figures["better_than_guessing"] is None and not figures["tells_apart"]:
        return Next("Add photos of every class, then train again.", "few_photos", case.again())
    if (figures["better_than_guessing"] or figures["tells_apart"]) and figures["only_answer"] is None:
        return None
    if course is not None and (norms := _norms(case)):
        return norms
    look = case.doctor()
    if course is None or math.isnan(case.excess):
        return Next("Ask whether these are the images that it was made for, and their labels right.", "guessing", look)
    loss, images = f"loss {course.losses[-1]:.3g}, where guessing gives {case.guess:.3g}", course.result.images
    if case.doubt < KNOWS:
        said = f"It knows its {images:,} training images ({loss}), and nothing that holds for others: more photos"
        said += " help, or a trained network to start from, unless the classes do not differ in what can be seen."
        return Next(said, "guessing", case.elsewhere() if case.could_start_elsewhere else look)
    loss = f"loss {course.losses[-1]:.3g}, where guessing gives {case.least_guess:.3g}"
    said = f"It did not learn its {images:,} training images either ({loss})."
    if course.losses[-1] > case.guess * 1.2 or course.result.fallbacks:
        return Next(
            f"{said} The learning rate is too high.", "guessing", case.again(set=f"learning_rate={course.rate / 4:.2g}")
        )
    counts = np.bincount(case.judgement.labels, minlength=len(case.judgement.classes))
    commonest = case.judgement.classes[int(counts.argmax())]
    if figures["only_answer"] == commonest and figures["baseline"] > UNEQUAL / np.count_nonzero(counts):
        said = "It names the commonest class alone, which is right most often: every class has to count the same."
        return Next(said, "guessing", case.balanced() or look)
    if case.could_start_elsewhere:
        return Next(f"{said} Start from a trained network.", "guessing", case.elsewhere())
    return Next(f"{said} Train longer, and see whether the labels are right.", "guessing", case.longer(4))


def _diverged(case: Case) -> Next | None:
    course = case.course
    if course is None or not course.result.fallbacks:
        return None
    said = f"It lost time by a learning rate that was too high: begin with {course.rate:g}."
    return Next(said, "diverged", case.again(set=f"learning_rate={course.rate:g}"))


def _norms(case: Case) -> Next | None:
    """What it knows while it trains, it does not know when it is judged."""
    course = case.course
    if course is None or course.result.learnt is None or not case.doubt < KNOWS:
        return None
    learnt, recipe = course.result.learnt, course.record.recipe
    baseline = case.figures["baseline"]
    images, little = int(learnt["images"]), max(baseline, (1 - case.doubt) / 2)
    if better(round(learnt["top1"] * images), images, little) is not False:
        return None
    if learnt["interval"][1] >= 1 - case.doubt * (1 - baseline):  # what its loss promises it has
        return None
    said = f"While it trained it knew its images, and judged it is right on {100 * learnt['top1']:.0f} % of them: "
    if recipe.get("ema"):
        said += "the average of its weights lags behind the few steps that were made."
        return Next(said, "norms", case.again(set="ema=0"))
    at_once, most = int(recipe.get("batch_size") or SMALL_BATCH), min(SMALL_BATCH, course.result.images)
    if at_once < most:
        said += f"its norms take their statistics over {at_once} images, which is too few."
        return Next(said, "norms", case.again(set=f"batch_size={most}"))
    return Next(f"{said}the statistics of its norms have not settled in so few steps.", "norms", case.longer(4))


def _not_converged(case: Case) -> Next | None:
    course = case.course
    if course is None:
        return None
    if course.result.step is not None:
        said = f"It stands at step {course.result.step:,} of {course.result.steps:,}: go on."
        return Next(said, "not_converged", f"resnets train --resume {typed(str(course.run))}")
    if case.gap > APART or not case.excess > LEARNT:
        return None
    if case.excess > KNOWS:
        loss = f"loss {course.losses[-1]:.3g}, where guessing gives {case.guess:.3g}"
        said = f"It has hardly learnt its {course.result.images:,} training images yet ({loss})."
        return Next(said, "not_converged", case.longer(4))
    if len(course.held_out) < 2:
        return None
    (_, last), losses = course.held_out[-1], [loss for _, loss in course.held_out]
    before = losses[-1 - max(1, len(losses) // 5)]
    if last > min(losses) or before - last < FALLING * before:
        return None
    said = "It has not come to its end: the loss on held-out images was still falling."
    return Next(said, "not_converged", case.longer(2))


def _labels(case: Case) -> Next | None:
    one = case.judgement
    classes, target = np.unique(one.labels, return_inverse=True)
    if len(classes) < 2 or one.logits.size > LARGEST or not case.mistakes:
        return None
    wrong, even = mistaken(one.logits[:, classes].astype(np.float64), target)
    doubtful = np.flatnonzero((wrong > LIKELY) & (even.argmax(axis=1) != target))
    if len(doubtful) < max(LABELS, SHARE * case.mistakes):
        return None
    worst = int(doubtful[wrong[doubtful].argmax()])
    seems = printable(one.classes[classes[even[worst].argmax()]])
    said = f"{len(doubtful)} of its {case.mistakes} mistakes look like wrong labels, most of all "
    said += f'{printable(one.samples[worst].key)}, which looks like "{seems}".'
    return Next(said, "labels", case.doctor(html="doctor.html"))


def _pair(case: Case) -> Next | None:
    from scipy.stats import binom

    one, count = case.judgement, len(case.judgement.classes)
    if np.count_nonzero(np.bincount(one.labels, minlength=count)) < 3:
        return None
    wrong = np.zeros((count, count), np.int64)
    rows = ~one.correct
    np.add.at(wrong, (one.labels[rows], one.predicted[rows]), 1)
    both = np.triu(wrong + wrong.T)
    times, pairs = int(both.max()), count * (count - 1) // 2
    if times < PAIR or times < OFTEN * case.mistakes or binom.sf(times - 1, case.mistakes, 1 / pairs) * pairs > LEVEL:
        return None
    first, second = (printable(one.classes[place]) for place in np.unravel_index(int(both.argmax()), both.shape))
    said = f'{times} of its {case.mistakes} mistakes are between "{first}" and "{second}": add photos of these two '
    said += f"that look alike. To tell them apart would be worth {100 * times / len(one.labels):.1f} points."
    return Next(said, "pair", case.again() or case.look())


def _overfitting(case: Case) -> Next | None:
    course, gap = case.course, case.gap
    if course is None or gap <= APART:
        return None
    right = 100 * (course.result.learnt or {})["top1"]
    said = f"It is right on {right:.0f} % of the images that it was trained on: it knows them by heart"
    if case.could_start_elsewhere:
        said += ", and a network that others have trained knows more to begin with."
        return Next(said, "overfitting", case.elsewhere())
    losses = [loss for _, loss in course.held_out]
    if losses and losses[-1] > (1 + RISEN) * min(losses) and course.record.schedule is None:
        epoch = course.held_out[int(np.argmin(losses))][0]
        if epoch <= 0.8 * course.record.epochs:
            said += f", and on others its loss was least after epoch {epoch}."
            return Next(said, "overfitting", case.again(epochs=epoch))
    return None


def _few_photos(case: Case) -> Next | None:
    course = case.course
    if course is None:
        return None
    gain = course.gain
    if gain is not None and gain["top1"] >= WORTH_IT:
        low, high = (100 * end for end in gain["interval"])
        said = f"Twice as many photos: about {100 * gain['top1']:.0f} points better ({low:.0f} to {high:.0f})."
        return Next(f"More photos help most. {said}", "few_photos", case.again(), gain)
    if case.gap > APART:
        right = 100 * (course.result.learnt or {})["top1"]
        said = f"It is right on {right:.0f} % of the {course.result.images:,} images that it was trained on: it needs "
        said += "more photos, and those that are unlike the others help most."
        return Next(said, "few_photos", case.again())
    return None


def _unrecognised(case: Case) -> Next | None:
    missed = case.figures["unrecognised"]
    if not missed:
        return None
    said = f"It does not recognise {some(missed)}: add photos of what is missed, and let every class count the same."
    return Next(said, "unrecognised", case.balanced() or case.look())


def _good(case: Case) -> Next:
    if case.figures["top1_interval"][0] < GOOD and not case.mistakes:
        return Next("It makes no mistake, on images too few to say more: let more photos judge it.", "few_photos", None)
    if case.figures["top1_interval"][0] < GOOD or case.figures["better_than_guessing"] is False:
        return Next("What limits it, its figures do not show: look at its mistakes.", "none", case.look())
    said = "Nothing stands out that limits it: use it." if case.mistakes else "It makes no mistake here: use it."
    if Path(case.data).exists():
        return Next(said, "none", typed("resnets", "predict", case.model, case.data))
    return Next(said, "none", typed("resnets", "export", case.model, "model.onnx"))


_LIMITS: tuple[Callable[[Case], Next | None], ...] = (
    _other_images,
    _guessing,
    _diverged,
    _norms,
    _not_converged,
    _labels,
    _pair,
    _overfitting,
    _few_photos,
    _unrecognised,
    _good,
)
