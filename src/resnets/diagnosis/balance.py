"""How many images of each class there are, in which split, and what that allows one to say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from resnets.data.sample import Sample
from resnets.diagnosis.diagnosis import Finding, count
from resnets.text import printable, some

FEW_TRAINING = 20  # images of a class, below which little can be learned of it
FEW_HELD_OUT = 10  # images of a class, below which one image moves its recall by more than ten points
UNEVEN = 5  # times as many images in the largest class as in the smallest
DISAGREE = 0.1  # share of the held-out images on which two good models are taken to differ
COARSE = 0.02  # smallest difference in top-1 that is still fine enough for most questions
HELD_OUT_SHARE = 0.2  # what training holds out of a set without splits


def smallest_difference(images: int) -> float:
    """The smallest difference in top-1 that `images` > 0 held-out images can show at 95 %, 0 to 1.

    Two models are judged on the same images and differ in being right on `DISAGREE` of them. McNemar's test (1947)
    calls b images against c significant from (b - c)^2 / (b + c) > 1.96^2 on.
    """
    return min(1.0, 1.96 * math.sqrt(DISAGREE / images))


def per_split(samples: Sequence[Sample], listed: Sequence[Sample] = ()) -> dict[str, Counter[str]]:
    """Split ("" where there are none) -> class -> images; 0 for a class that is only among the `listed` files."""
    found: dict[str, Counter[str]] = {}
    for sample in listed:
        found.setdefault(sample.split, Counter())[sample.label] = 0
    for sample in samples:
        found.setdefault(sample.split, Counter())[sample.label] += 1
    return found


def findings(counts: Mapping[str, Counter[str]]) -> list[Finding]:
    """What is odd about the numbers of usable images; `counts` as from `per_split`."""
    return [*_untaught(counts), *_classes(counts), *_balance(counts), *_small(counts), *_power(counts)]


def _untaught(counts: Mapping[str, Counter[str]]) -> list[Finding]:
    """Splits, and none of them to train on."""
    if not counts or "train" in counts or "" in counts:
        return []
    return [
        Finding(
            kind="nothing-to-train-on",
            severity="error",
            text=f"There is {' and '.join(f'{split}/' for split in sorted(counts))} and no train/.",
            mend="Add train/ with a folder for each class. To judge a network on these images it is not needed.",
            details={"splits": sorted(counts)},
        )
    ]


def _classes(counts: Mapping[str, Counter[str]]) -> list[Finding]:
    """Classes that one split has and another has not."""
    known = sum(counts.values(), Counter[str]())
    found = []
    for split, classes in counts.items():
        missing = sorted(label for label in known if known[label] and not classes[label])
        have = [printable(f"{other}/{missing[0]}/") for other in counts if missing and counts[other][missing[0]]]
        if split and have:
            found.append(
                Finding(
                    kind="classes-differ",
                    severity="error",
                    text=f"{split}/ has no images of {count(len(missing), 'class', 'classes')} that "
                    f"{' and '.join(have)} {'has' if len(have) == 1 else 'have'}: {some(missing)}.",
                    mend=f"Add photos to {printable(f'{split}/{missing[0]}/')}, or remove the class from every split; "
                    "training refuses such a set. Different spellings of one class are a common reason.",
                    details={"split": split, "classes": missing},
                )
            )
    return found


def _balance(counts: Mapping[str, Counter[str]]) -> list[Finding]:
    classes = counts.get("train") or counts.get("") or Counter()
    ranked = [(label, number) for label, number in classes.most_common() if number]
    if len(ranked) < 2:
        return []
    (most, many), (least, few) = ranked[0], ranked[-1]
    if many < UNEVEN * few:
        return []
    return [
        Finding(
            kind="imbalance",
            severity="warning",
            text=f'class "{printable(most)}" has {count(many, "image")}, {many / few:.0f} times as many as '
            f'"{printable(least)}" with {few:,}.',
            mend="`resnets train DATA --set sampler=balanced` draws every class equally often; or add images to the "
            "small classes; and judge by balanced accuracy and class by class: top-1 mostly says how well the large "
            "ones are known.",
            details={"counts": dict(ranked), "ratio": many / few},
        )
    ]


def _small(counts: Mapping[str, Counter[str]]) -> list[Finding]:
    """Classes too small to be learned, or to be judged; those that another split has alone are not counted again."""
    known = sum(counts.values(), Counter[str]())
    found = []
    for split, classes in counts.items():
        enough = FEW_TRAINING if split in ("train", "") else FEW_HELD_OUT
        ranked = sorted(classes.items(), key=lambda item: item[1])
        few = {label: number for label, number in ranked if number < enough and (number or not known[label])}
        if not few:
            continue
        shown = [f'"{printable(label)}" {number}' for label, number in list(few.items())[:3]]
        more = f" and {len(few) - 3:,} more" if len(few) > 3 else ""
        single = min(few.values()) < (2 if split == "" else 1)
        found.append(
            Finding(
                kind="small-classes",
                severity="error" if single else "warning",
                text=f"{'in ' + split + '/ ' if split else ''}{count(len(few), 'class', 'classes')} "
                f"{'has' if len(few) == 1 else 'have'} fewer than {enough} images: {', '.join(shown)}{more}.",
                mend=(
                    "Training refuses a class without a usable image, and one with a single image where it has to "
                    "split: add images, or remove the class."
                    if single
                    else "Add images: so few are hardly learned."
                    if split in ("train", "")
                    else "Add images: one of them more or less moves the class's recall by ten points and more."
                ),
                details={"split": split, "counts": few},
            )
        )
    return found


def held_out(counts: Mapping[str, Counter[str]]) -> tuple[str, int]:
    """(split, images) that models are judged on; ("", images) where training makes the split."""
    for name in ("val", "test"):
        if name in counts:
            return name, counts[name].total()
    own = counts.get("", Counter()).values()  # the split is drawn in each class, as `resnets.data.split` does
    return "", sum(min(max(round(number * HELD_OUT_SHARE), 1), number - 1) for number in own if number > 1)


def _power(counts: Mapping[str, Counter[str]]) -> list[Finding]:
    """What the held-out images can tell apart."""
    name, images = held_out(counts)
    if images == 0 or (least := smallest_difference(images)) < COARSE:
        return []
    where = f"{name}/ has" if name else "training will hold out"
    return [
        Finding(
            kind="few-held-out",
            severity="warning" if least >= 2 * COARSE else "note",
            text=f"{where} {count(images, 'image')}: differences in top-1 below {100 * least:.1f} points cannot be "
            "told from chance (95 %).",
            mend=f"Hold out more: {count(math.ceil(DISAGREE * (1.96 / COARSE) ** 2), 'image')} show differences of "
            f"{100 * COARSE:.0f} points. Or compare over several seeds.",
            details={"held_out": images, "smallest_difference": least},
        )
    ]
