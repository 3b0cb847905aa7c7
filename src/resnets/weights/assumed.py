"""What no tensor shows of a network, and who says it: the file, the user, or nobody, so that it is assumed.

A certificate compares computations, so it speaks of a graph that somebody has to state. These are the facts that make
one graph of the many that the same tensors fit.
"""

from __future__ import annotations

from resnets.architecture import Plan
from resnets.architecture.spec import ORDERS
from resnets.data.preprocess import Preprocessing
from resnets.weights.formats.stored import Foreign
from resnets.weights.worlds import dialect_of
from resnets.weights.worlds.torch import stated

POOLS = {
    "torch": "3x3 with stride 2, padded by 1",
    "zero": "3x3 with stride 2, padded by 1 of zeros",
    "same": "3x3 with stride 2, padded as TensorFlow's SAME",
    "ceil": "3x3 with stride 2, not padded, the last window cut",
    "valid": "3x3 with stride 2, not padded, whole windows alone",
}
SHORTCUTS = {
    "projection": "a strided projection where the shape changes, else the input",
    "avgpool": "an average and a projection where the shape changes, else the input",
    "all": "a projection in every unit",
    "pad": "the input, with zeros for new channels",
    "none": "none",
}
SIDES = {"end": " behind the others", "both": " on both sides"}


def assumptions(
    file: Foreign, dialect: str, plan: Plan, given: tuple[Preprocessing, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """(what is assumed, what is seen), each as fact -> words; what is seen has who says it in brackets.

    file    as its dialect prepares it
    given   how pictures are prepared, and who says it, where it is not the file
    """
    world = dialect_of(dialect)
    says = world.states(file)
    graph = says.get("graph", "")
    own, preprocessing = given or (world.preprocessing(file, plan.spec), says.get("preprocessing", ""))
    assumed, seen = {}, {}
    for fact, words in graph_facts(plan).items():
        who = graph or ("" if fact == "pool" and stated.contradicts(file, plan) else stated.by(file, fact))
        if who:
            seen[fact] = f"{words} ({who})"
        else:
            assumed[fact] = words
    if preprocessing:
        seen["preprocessing"] = f"{prepared(own)} ({preprocessing})"
    else:
        assumed["preprocessing"] = prepared(own)
    return assumed, seen


def graph_facts(plan: Plan) -> dict[str, str]:
    """Of a plan, in words: strides, dilation, pool, activation, shortcuts, epsilon and answers."""
    spec = plan.spec
    place = "first" if spec.block == "basic" or spec.stride_conv == "first" else "3x3"
    unit = "first unit of a stage" if spec.stride_unit == "first" else "last unit of the stage before"
    stem = "" if spec.stem_activation else ", none in the stem"
    return {
        "strides": f"in the {place} convolution of the {unit}",
        "dilation": f"output stride {plan.output_stride}"
        if plan.output_stride != 32 or plan.dilates_unasked
        else "none",
        "pool": "none in the stem" if spec.stem == "cifar" else POOLS[spec.pool_padding],
        "activation": f"ReLU{stem}",
        "order": ORDERS[spec.order].short,
        "shortcuts": SHORTCUTS[spec.shortcut] + (SIDES[spec.pad_side] if spec.shortcut == "pad" else ""),
        "epsilon": f"{spec.norm_eps:g}",
        "answers": "one class of several, by a softmax",
    }


def prepared(p: Preprocessing) -> str:
    """How pictures become the input of a network, in words."""
    mean = "a mean image" if p.mean_image is not None else f"mean {_numbers(p.mean)}"
    cut = f"{p.resize} side to {p.resize_to}" if p.resize != "stretch" else f"both sides to {p.resize_to}"
    return f"{cut}, centre {p.image_size}, {p.channels} of 0..1, {mean}, std {_numbers(p.std)}"


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)
