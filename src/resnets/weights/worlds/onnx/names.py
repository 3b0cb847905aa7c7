"""ONNX files as a dialect: a graph says which tensor is which, so that they come under our own names.

What no exporter keeps are norms behind convolutions: they are folded into them, and an identity with the convolution's
bias stands in. What a graph has besides is compared with the network's, layer by layer.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.spec import CHOICES
from resnets.data.preprocess import MAX_SIZE, Preprocessing
from resnets.errors import DataError, ModelFileError
from resnets.progress import say
from resnets.weights.formats.onnx_file import OnnxGraph
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds import topology
from resnets.weights.worlds.base import Dialect, Naming
from resnets.weights.worlds.differing import another_network
from resnets.weights.worlds.keras.names import usual
from resnets.weights.worlds.onnx.graph import averages_pairs, differences, of_file, of_plan, pool_rule, rule_of
from resnets.weights.worlds.onnx.proof import Proof, proof
from resnets.weights.worlds.onnx.steps import Steps
from resnets.weights.worlds.onnx.tensors import Network
from resnets.weights.worlds.torch import stated

KERAS = "tf2onnx"  # the producer of what Keras exports
MOST_BYTES = 2**20  # of a text in the metadata that is read
WRAPPED = ("names", "labels")  # keys of metadata that hold a list of names, or a table from numbers to them


class Onnx(Dialect):
    """An .onnx file, with what lies beside it."""

    name: ClassVar = "onnx"
    containers: ClassVar = ("onnx",)
    framework: ClassVar = "ONNX Runtime"
    orders: ClassVar = ("post", "pre")

    def prepare(self, file: Foreign) -> Foreign:
        """Tensors under our state names. Documents have more:

        steps, roles    of the graph (`Steps`), and which role which has; facts: what is said of them (`of_file`)
        identities      the roles of norms that the file has not
        reports         by role: the name of the value that is its activation, and whether its channels are last
        order, epsilon  of norms: "pre" or "post"
        rounded         whether its tensors had to be computed with, which rounds
        channels_last   whether pictures come so; "input" is their shape with the channels first
        checkpoint      what the metadata say
        """
        graph: OnnxGraph = file.documents["onnx"]
        try:
            read = Steps(graph)
            shape = graph.inputs[read.input]
            if len(shape) not in (0, 4):
                raise ValueError(f"its input has {len(shape)} dimensions, and pictures have four")
            nodes = [topology.Node(step.said, step.kind, step.reads) for step in read.steps]
            found = Network(read.steps, topology.roles(nodes))
            tensors = found.tensors()
            facts = of_file(read.steps, found.roles)
        except (ValueError, OverflowError) as problem:
            raise unusable(file.path, f"its graph is that of no residual network: {problem}") from problem
        except RecursionError as problem:
            raise unusable(file.path, "its graph has more layers in a row than any residual network") from problem
        except RuntimeError as problem:
            raise unusable(file.path, "its tensors do not fit each other") from problem
        documents = {
            **file.documents,
            "steps": read.steps,
            "roles": found.roles,
            "facts": facts,
            "identities": found.identities,
            "order": "pre" if found.pre else "post",
            "reports": {role: read.given[number] for role, number in found.reports().items()},
            "channels_last": read.last,
            "epsilon": found.eps,
            "rounded": found.rounds,
            "checkpoint": _facts(graph.metadata),
            "input": (shape[0], shape[3], *shape[1:3]) if read.last and shape else shape,
        }
        _say_what_is_lost(file, documents["checkpoint"])
        return replace(file, tensors=tensors, documents=documents)

    def namings(self, file: Foreign) -> Iterable[Naming]:
        """Our own names."""
        return [lambda ours: ours]

    def fields(self, file: Foreign) -> Mapping[str, Any]:
        """What the graph says at its most telling places; `check` finds out whether all of it is so."""
        steps, roles = file.documents["steps"], file.documents["roles"]
        fields: dict[str, Any] = {"order": file.documents["order"], "norm_eps": file.documents["epsilon"]}
        convs = {role: steps[n] for role, n in roles.items() if steps[n].kind == "conv" and role != "head.linear"}
        if any(
            role.endswith(".conv1") and step.settings["stride"] != (1, 1) and f"{role[:-1]}3" in convs
            for role, step in convs.items()
            if role.startswith("stage")
        ):
            fields["stride_conv"] = "first"
        if any(
            step.settings["stride"] != (1, 1)
            for role, step in convs.items()
            if role.startswith("stage") and ".unit1." not in role
        ):
            fields["stride_unit"] = "last"
        pools = [step for step in steps if step.kind == "pool" and step.settings["method"] != "mean"]
        if rules := [rule for rule in map(pool_rule, pools) if rule in CHOICES["pool_padding"] and rule != "torch"]:
            fields["pool_padding"] = rules[0]
        if zeros := [step for step in steps if step.kind == "pad"]:
            fields |= {"shortcut": "pad", "pad_side": "both" if zeros[0].settings["before"] else "end"}
        elif any(averages_pairs(step) for step in pools):
            fields["shortcut"] = "avgpool"
        if any(rule_of(step) == "same" for step in convs.values()):
            fields["conv_padding"] = "same"
        reads = file.documents["facts"]["stage1.unit1.conv1"]["reads"]
        if fields["order"] == "post" and "relu of stem" not in reads:
            fields["stem_activation"] = False
        return fields

    def check(self, file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
        """Every layer must be what the network has in its place, and read what it reads there."""
        network = of_plan(plan, file.documents["identities"])
        if "head.linear.weight" not in names:
            del network["head.linear"]
        rows = list(differences(file.documents["facts"], network))
        if rows:
            theirs = {role: file.documents["steps"][n].said for role, n in file.documents["roles"].items()}
            raise another_network(
                file.path,
                plan,
                [(f"{role}, {theirs[role]}" if role in theirs else role, there, here) for role, there, here in rows],
            )

    def proof(self, file: Foreign, plan: Plan, headless: bool) -> Proof:
        """The graph is run on a few pictures."""
        return proof(file, plan, headless)

    def preprocessing(self, file: Foreign, spec: ResNetSpec) -> Preprocessing:
        """What the metadata of our own files say; else what is usual, of Keras for what it exported."""
        document = file.documents["checkpoint"].get("preprocessing")
        if isinstance(document, dict):
            try:
                return Preprocessing.from_dict(document, None)
            except (DataError, AttributeError, TypeError, ValueError) as problem:
                raise unusable(file.path, f"what it says of preparing pictures makes no sense ({problem})") from problem
        sides = file.documents["input"][2:]
        square = len(set(sides)) == 1 and 0 < sides[0] <= MAX_SIZE
        size = sides[0] if square else spec.image_size
        if KERAS in file.documents["onnx"].producer and file.documents["channels_last"]:
            return usual(size, v2=spec.order == "pre", published=True)
        return Preprocessing.evaluation(size)

    def naming(self, plan: Plan) -> Naming:
        """Raises ModelFileError, with the verb that writes such files."""
        raise ModelFileError("onnx files are read here and written by another verb: `resnets export MODEL OUT.onnx`.")

    def classes(self, file: Foreign, count: int) -> tuple[str, ...]:
        """Those of the metadata; numbers where there are none."""
        return stated.class_names(file, count) or super().classes(file, count)

    def states(self, file: Foreign) -> Mapping[str, str]:
        """Its nodes are the graph; how pictures are prepared stands in our own files alone."""
        prepared = isinstance(file.documents["checkpoint"].get("preprocessing"), dict)
        return {"graph": "its nodes", **({"preprocessing": "its metadata"} if prepared else {})}


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a model says of itself, as a checkpoint of torch's would: texts of JSON or of Python's literals are read."""
    found: dict[str, Any] = {}
    for key, words in metadata.items():
        value: Any = words
        if len(words) <= MOST_BYTES and words[:1] in "[{":
            with suppress(ValueError, RecursionError):
                value = json.loads(words)
            if value is words:
                with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                    value = ast.literal_eval(words)
        if key in WRAPPED:
            key = "idx_to_class" if isinstance(value, dict) else "classes"
        found.setdefault(key, value)
    return found


def _say_what_is_lost(file: Foreign, facts: Mapping[str, Any]) -> None:
    calibration = facts.get("calibration")
    temperature = calibration.get("temperature", 1) if isinstance(calibration, dict) else 1
    if temperature != 1:
        say(
            f"{file.path.name} says that its probabilities have a temperature of {str(temperature)[:8]}, which is not "
            "taken over: `resnets evaluate` with data finds one."
        )
