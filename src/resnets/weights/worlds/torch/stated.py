"""What a checkpoint of torch's says of its own network, or a user in its place: facts that no tensor shows.

torchvision's names are those of many other codes too, so that a file under them may be of another graph with the same
tensors. Training scripts save the name of the architecture (`arch`), their arguments (`args`, Lightning's
`hyper_parameters`) and the classes' names: these are facts. An architecture that is none of the grammar's is refused,
unless the user names the network, who then decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from resnets.architecture import Plan, ResNetSpec
from resnets.architecture.catalog import CATALOG
from resnets.data.labels import apart
from resnets.text import printable
from resnets.weights.formats.stored import Foreign, unusable
from resnets.weights.worlds.torch import modules

# The families that are in the grammar. Others share these names and tensors but run another graph: resnetaa and
# resnetblur smooth before they stride, ecaresnet and seresnet gate, *_gn normalises by groups.
KNOWN = re.compile(
    r"(tv_|gluon_|ssl_|swsl_|ig_)?((wide_)?resnet\d+[cd]?(_2|_v1[bcd])?|resnext\d+d?_\d+x\d+d|resnetv2_\d+d?)"
)
HOLDERS = ("args", "hyper_parameters", "hparams", "config", "cfg", "opt", "model_args", "model_kwargs", "model", "meta")
NAMES = ("arch", "architecture")  # keys that name a network and nothing else
OFTEN = ("model", "model_name", "network", "net", "backbone", "encoder", "base_model")  # and that often do
FAMILY = re.compile(r"[a-z0-9_]*res_?ne[xs]?t[a-z]*\d+[a-z0-9_]*")  # a name that is that of such a network
SAYS_NOTHING = ("resnet", "resnext")
FILES = (".pth", ".pt", ".ckpt", ".tar", ".th", ".bin", ".safetensors")
LABELS = ("classes", "class_names", "CLASSES", "categories", "label_names")  # lists of names
NUMBERS = ("class_to_idx", "label2id")  # tables from a name to its number
NUMBERED = ("idx_to_class", "id2label")  # and back

# Arguments that change the graph and no tensor, with what is usual beside nothing, None and False.
GRAPH: Mapping[str, tuple[Any, ...]] = {
    "global_pool": ("avg",),
    "gp": ("avg",),
    "output_stride": (32,),
    "act_layer": ("relu",),
    "aa_layer": (),
    "block_args": (),
    "remove_maxpool": (),
    "dilation": (1,),
    "dilations": ((1, 1, 1, 1), (1, 1, 1)),
    "replace_stride_with_dilation": (),
}
POOLS = ("maxpool1",)  # whether there is a pool in the stem
HIDDEN = (
    *("stride_conv", "stride_unit", "pool_padding", "conv_padding", "norm_eps", "stem_activation"),
    *("shortcut", "pad_side"),
)
USER = "the network that was named"
MODULES = "its modules"


def named(file: Foreign, spec: ResNetSpec) -> Foreign:
    """The file of which the user has named the network."""
    return _with(file, _hidden(spec), USER)


def stated(file: Foreign) -> Foreign:
    """The file with what its checkpoint says of its graph, in documents["stated"] as {"fields", "by"}."""
    facts = file.documents.get("checkpoint", {})
    where, name = _architecture(facts)
    fields = _hidden(CATALOG[name]) if name in CATALOG and not _shows(CATALOG[name]) else {}
    if eps := next((place["bn_eps"] for _, place in _places(facts) if isinstance(place.get("bn_eps"), float)), None):
        fields, where = {**fields, "norm_eps": eps}, where or "bn_eps"
    if file.documents.get("modules"):
        return _with(file, {**modules.fields_of(file), **fields}, MODULES)
    return _with(file, fields, f"its checkpoint ({where}: {printable(name)})" if name else f"its checkpoint ({where})")


def fields_of(file: Foreign) -> Mapping[str, Any]:
    """Fields of the spec that somebody has stated and no tensor shows; those that are usual are left out."""
    return file.documents.get("stated", {}).get("fields", {})  # type: ignore[no-any-return]


def by(file: Foreign) -> str:
    """Who has stated the graph; "" for nobody."""
    return str(file.documents.get("stated", {}).get("by", ""))


def check(file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
    """Raise ModelFileError where a checkpoint states another graph than the plan's, and the user names none."""
    if by(file) == USER:
        return
    modules.check(file, plan, names)
    facts = file.documents.get("checkpoint", {})
    mend = "if it is the graph of a network of the catalog all the same, say of which with `network`"
    where, name = _architecture(facts)
    if name and not (KNOWN.fullmatch(name) or name in CATALOG):
        raise unusable(
            file.path, f"its checkpoint says {where} {printable(name)!r}, a graph that is not known here; {mend}"
        )
    if name in CATALOG and any(
        getattr(CATALOG[name], field) != getattr(plan.spec, field) for field in ("depths", "block", "groups")
    ):
        raise unusable(
            file.path, f"its checkpoint says {where} {printable(name)!r}, and its tensors are another network's; {mend}"
        )
    for holder, place in _places(facts):
        others = {key: place[key] for key, usual in GRAPH.items() if not _is_usual(place.get(key), usual)}
        others |= {key: place[key] for key in POOLS if place.get(key) is (plan.spec.stem == "cifar")}
        for key, value in others.items():
            raise unusable(
                file.path,
                f"its checkpoint says {_dotted(holder, key)} {printable(repr(value))[:50]}, which is another graph "
                f"with the same tensors; {mend}",
            )


def _is_usual(value: Any, usual: tuple[Any, ...]) -> bool:
    if isinstance(value, list):
        return not any(value) or tuple(value) in usual
    plain = value.lower() if isinstance(value, str) else value
    return not plain or any(type(plain) is type(one) and plain == one for one in usual)


def class_names(file: Foreign, count: int) -> tuple[str, ...]:
    """The names of so many classes in the order of the logits, as a checkpoint has them; none if it has none."""
    for _, place in _places(file.documents.get("checkpoint", {})):
        for found in _lists(place):
            names = [str(name) for name in found if isinstance(name, str | int)]
            told = apart(names)
            if len(set(told)) == count and all(name.strip() for name in told):
                return told
    return ()


def _lists(place: Mapping[str, Any]) -> Iterator[list[Any]]:
    for key in LABELS:
        if isinstance(found := place.get(key), list) and all(isinstance(name, str) for name in found):
            yield found
    tables = [dict(place[key]) for key in NUMBERS if _is_table(place.get(key))]
    tables += [{name: number for number, name in place[key].items()} for key in NUMBERED if _is_table(place.get(key))]
    for table in tables:
        numbered = {str(number): name for name, number in table.items() if isinstance(number, str | int)}
        yield [numbered[str(i)] for i in range(len(numbered)) if str(i) in numbered]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str | int) for one in value.values())


def _with(file: Foreign, fields: Mapping[str, Any], who: str) -> Foreign:
    if who.endswith("()"):
        return file
    return replace(file, documents={**file.documents, "stated": {"fields": fields, "by": who}})


def _hidden(spec: ResNetSpec) -> dict[str, Any]:
    usual = ResNetSpec(block=spec.block)
    found = {key: getattr(spec, key) for key in HIDDEN if getattr(spec, key) != getattr(usual, key)}
    if found.get("shortcut") == "avgpool":  # which its names show
        del found["shortcut"]
    return found


def _shows(spec: ResNetSpec) -> bool:
    """Whether a network of the catalog has shortcuts that people with the same name for theirs often have not."""
    return spec.shortcut in ("pad", "none")


def _places(facts: Mapping[str, Any], depth: int = 3) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, dictionary) of the places where a checkpoint speaks of its network, itself ("") first."""
    waiting: list[tuple[str, Mapping[str, Any], int]] = [("", facts, depth)]
    while waiting:
        name, place, left = waiting.pop(0)
        yield name, place
        if left:
            inner = ((key, place[key]) for key in (*HOLDERS, "dataset_meta") if isinstance(place.get(key), dict))
            waiting += [(_dotted(name, key), found, left - 1) for key, found in inner]


def _architecture(facts: Mapping[str, Any]) -> tuple[str, str]:
    """(where, name) of the architecture that a checkpoint states; ("", "") if it states none."""
    places = list(_places(facts))
    for keys in (NAMES, OFTEN):
        for holder, place in places:
            for key in keys:
                value = place.get(key)
                if not isinstance(value, str) or value.endswith(FILES):
                    continue
                name = value.strip().rpartition("/")[2].partition(".")[0].lower()  # of timm/resnet50.a1_in1k
                name = re.sub(r"(?<=net)[-_](?=\d)", "", name)
                if name and name not in SAYS_NOTHING and (keys is NAMES or FAMILY.fullmatch(name)):
                    return _dotted(holder, key), name
    return "", ""


def _dotted(holder: str, key: str) -> str:
    return f"{holder}.{key}" if holder else key
