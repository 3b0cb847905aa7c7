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
from resnets.errors import ModelFileError
from resnets.progress import say
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
# Names that those of known networks are in: simclr_resnet50, resnet50_cls, torchvision.models.resnet50.
_WITHIN = re.compile(rf"(?<![a-z0-9])({KNOWN.pattern})(w\d+)?(?![a-z0-9])")
# Networks with the same tensors, or nearly so, and another graph.
OTHERS = re.compile(
    r"(?<![a-z])(se|eca|sk|gc|cs|bat|halo|bot|lambda)_?res|res2ne|resnest|resnet(aa|blur|rs|ts)|[_-](gn|ibn|bit)|net\d+t"
)
SAYS_NOTHING = ("resnet", "resnext")
FILES = (".pth", ".pt", ".ckpt", ".tar", ".th", ".bin", ".safetensors")
SHOWN = ("depths", "block", "groups", "width_per_group", "order", "stem")  # fields that a name and the tensors show
LABELS = ("classes", "class_names", "CLASSES", "label_names")  # lists of names
NUMBERS = ("class_to_idx", "label2id")  # tables from a name to its number
NUMBERED = ("idx_to_class", "id2label")  # and back

# Arguments that change the graph and no tensor, with what is usual beside nothing, None and False.
GRAPH: Mapping[str, tuple[Any, ...]] = {
    "global_pool": ("avg", True),
    "gp": ("avg", True),
    "output_stride": (32,),
    "act_layer": ("relu",),
    "aa_layer": (),
    "block_args": (),
    "remove_maxpool": (),
    "dilation": (1,),
    "dilations": (),
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
    return _with(file, _hidden(spec), USER, None)


def stated(file: Foreign) -> Foreign:
    """The file with what its checkpoint says of its graph, in documents["stated"] as {"fields", "by", "facts"}.

    facts: what is said; None for all of the graph
    """
    facts = file.documents.get("checkpoint", {})
    if shown := modules.shown(file):
        return _with(file, modules.fields_of(file), MODULES, shown)
    where, name = _architecture(facts)
    eps = next((place["bn_eps"] for _, place in places(facts) if _is_epsilon(place.get("bn_eps"))), None)
    fields: dict[str, Any] = {} if eps is None else {"norm_eps": eps}
    if name in CATALOG:
        hidden = {} if _shows(CATALOG[name]) else _hidden(CATALOG[name])
        return _with(file, {**hidden, **fields}, f"its checkpoint ({where}: {printable(name)})", None)
    return file if eps is None else _with(file, fields, "its checkpoint (bn_eps)", ("epsilon",))


def fields_of(file: Foreign) -> Mapping[str, Any]:
    """Fields of the spec that somebody has stated and no tensor shows; those that are usual are left out."""
    return file.documents.get("stated", {}).get("fields", {})  # type: ignore[no-any-return]


def by(file: Foreign, fact: str = "") -> str:
    """Who has stated a fact of the graph, or all of it; "" for nobody."""
    said = file.documents.get("stated", {})
    known = said.get("facts") is None or fact in said["facts"]
    return str(said.get("by", "")) if known else ""


def check(file: Foreign, plan: Plan, names: Mapping[str, str]) -> None:
    """Raise ModelFileError where a checkpoint states another graph than the plan's, and the user names none."""
    if by(file) == USER:
        try:
            modules.check(file, plan, names)
        except ModelFileError as problem:
            say(f"{str(problem).rstrip('.')}; the network that was named decides.")
        return
    modules.check(file, plan, names)
    facts = file.documents.get("checkpoint", {})
    mend = "if it is the graph of a network of the catalog all the same, say of which with `network`"
    where, name = _architecture(facts)
    if name and name not in CATALOG and (OTHERS.search(name) or not _WITHIN.search(name)):
        raise unusable(
            file.path, f"its checkpoint says {where} {printable(name)!r}, a graph that is not known here; {mend}"
        )
    if name in CATALOG:
        said, has = CATALOG[name], plan.spec
        other = [field for field in SHOWN if getattr(said, field) != getattr(has, field)]
        other = [field for field in other if (field, has.stem) != ("stem", "cifar")]
        if other:
            raise unusable(
                file.path,
                f"its checkpoint says {where} {printable(name)!r}, and its tensors are another network's "
                f"({', '.join(other)}); {mend}",
            )
    _check_arguments(file, facts, plan, mend)


def contradicts(file: Foreign, plan: Plan) -> bool:
    """Whether a checkpoint's architecture has another stem: somebody's own, of which its name says nothing."""
    _, name = _architecture(file.documents.get("checkpoint", {}))
    return name in CATALOG and CATALOG[name].stem != plan.spec.stem


def _check_arguments(file: Foreign, facts: Mapping[str, Any], plan: Plan, mend: str) -> None:
    for holder, place in places(facts):
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
        return not any(one is True or one not in (False, None, 1, 0) for one in value)
    plain = value.lower().rpartition(".")[2] if isinstance(value, str) else value
    if isinstance(plain, str) and plain.isdecimal():
        plain = int(plain)
    return not plain or any(type(plain) is type(one) and plain == one for one in usual)


def _is_epsilon(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


def class_names(file: Foreign, count: int) -> tuple[str, ...]:
    """The names of so many classes in the order of the logits, as a checkpoint has them; none if it has none.

    Numbers beside names come before lists of names.
    """
    tables = [place for _, place in places(file.documents.get("checkpoint", {}))]
    for read in (_numbered, _listed):
        for place in tables:
            for names in read(place):
                told = apart(names)
                if len(set(told)) == count and all(name.strip() and name.isprintable() for name in told):
                    return told
    return ()


def _listed(place: Mapping[str, Any]) -> Iterator[list[str]]:
    for key in LABELS:
        if isinstance(found := place.get(key), list) and all(isinstance(name, str) for name in found):
            yield found


def _numbered(place: Mapping[str, Any]) -> Iterator[list[str]]:
    """Of tables whose numbers go from 0 on, each once."""
    pairs = [list(place[key].items()) for key in NUMBERS if _is_table(place.get(key))]
    pairs += [[(name, number) for number, name in place[key].items()] for key in NUMBERED if _is_table(place.get(key))]
    for table in pairs:
        by_number = {str(number): str(name) for name, number in table}
        if by_number.keys() == {str(i) for i in range(len(table))}:
            yield [by_number[str(i)] for i in range(len(table))]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str | int) for one in value.values())


def _with(file: Foreign, fields: Mapping[str, Any], who: str, facts: tuple[str, ...] | None) -> Foreign:
    said = {"fields": fields, "by": who, "facts": facts}
    return replace(file, documents={**file.documents, "stated": said})


def _hidden(spec: ResNetSpec) -> dict[str, Any]:
    usual = ResNetSpec(block=spec.block)
    found = {key: getattr(spec, key) for key in HIDDEN if getattr(spec, key) != getattr(usual, key)}
    if found.get("shortcut") == "avgpool":  # which its names show
        del found["shortcut"]
    return found


def _shows(spec: ResNetSpec) -> bool:
    """Whether a network of the catalog has shortcuts that people with the same name for theirs often have not."""
    return spec.shortcut in ("pad", "none")


def places(facts: Mapping[str, Any], depth: int = 3) -> Iterator[tuple[str, Mapping[str, Any]]]:
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
    tables = list(places(facts))
    for keys in (NAMES, OFTEN):
        for holder, place in tables:
            for key in keys:
                value = place.get(key)
                if not isinstance(value, str) or not value.strip() or value.endswith(FILES):
                    continue
                plain = re.sub(r"(?<=net)[-_ ](?=\d)", "", value.strip().lower())
                parts = re.split(r"[./]", plain)  # of timm/resnet50.a1_in1k, torchvision.models.resnet50
                name = next((part for part in parts if part in CATALOG or KNOWN.fullmatch(part)), plain)
                known = name in CATALOG or KNOWN.fullmatch(name) or OTHERS.search(name)
                if name not in SAYS_NOTHING and (keys is NAMES or known):
                    return _dotted(holder, key), name
    return "", ""


def _dotted(holder: str, key: str) -> str:
    return f"{holder}.{key}" if holder else key
