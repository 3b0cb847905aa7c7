"""What the registry says of its tags is consistent; `test_registry_sources.py` compares it with the sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resnets.architecture.catalog import CATALOG, spec_of
from resnets.weights import registry
from resnets.weights.registry import Entry, entry_of, is_tag, tags


def ours() -> list[str]:
    """Without those of whoever runs the tests."""
    return [tag for tag in tags() if not tag.startswith("local:")]


def entries() -> list[Entry]:
    return [entry for tag in ours() if (entry := entry_of(tag))]


def test_every_source_has_entries_and_every_tag_is_its_own() -> None:
    assert {entry.tag.partition(":")[0] for entry in entries()} == set(registry.SOURCES)
    assert len(ours()) == len(set(ours())) > 120
    assert all(entry.tag == tag and is_tag(tag) for tag, entry in zip(ours(), entries(), strict=True))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.tag)
def test_an_entry_makes_sense(entry: Entry) -> None:
    assert entry.network in CATALOG
    assert entry.licence in ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-NC-4.0", "MIT")
    assert entry.figures.startswith("https://")
    assert re.fullmatch("([0-9a-f]{8}|[0-9a-f]{64})?", entry.sha256)
    assert re.fullmatch("([0-9a-f]{32})?", entry.md5)
    on_the_hub = entry.tag.startswith(("hf:", "timm:"))
    assert bool(re.fullmatch(r"[\w.-]+/[\w.-]+", entry.address)) is on_the_hub
    assert entry.address.startswith("https://") is not on_the_hub
    assert sum(map(bool, (entry.sha256, entry.md5, entry.member, on_the_hub))) == 1
    if promised := re.search(r"-([0-9a-f]{8})\.\w+$", entry.address):
        assert entry.sha256.startswith(promised[1])
    if entry.top1 is not None and entry.top5 is not None:
        assert 0.6 < entry.top1 < entry.top5 < 1
    stem = spec_of(entry.network).image_size
    assert entry.preprocessing.image_size in ({32} if stem == 32 else {224, 288, 299, 320})


def test_a_tag_without_its_last_part_is_the_default_of_its_source() -> None:
    for short, full in {
        "torchvision:resnet50": "torchvision:resnet50:IMAGENET1K_V2",
        "torchvision:resnet18": "torchvision:resnet18:IMAGENET1K_V1",
        "timm:resnet50": "timm:resnet50.a1_in1k",
    }.items():
        assert entry_of(short) is entry_of(full) is not None
    shorts = {":".join(re.split("[:.]", tag)[:2]) for tag in ours() if tag.startswith(("torchvision", "timm"))}
    assert all(entry_of(short) for short in shorts)


def test_what_the_dialects_need_to_prepare_a_picture_is_not_all_alike() -> None:
    caffe, inception = entry_of("keras:resnet50"), entry_of("slim:resnet_v2_50")
    assert caffe.preprocessing.channels == "BGR"
    assert caffe.preprocessing.mean == pytest.approx((103.939 / 255, 116.779 / 255, 123.68 / 255))
    assert caffe.preprocessing.std == pytest.approx((1 / 255,) * 3)
    assert (inception.preprocessing.resize, inception.preprocessing.resize_to) == ("stretch", 342)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *[("torchvision:resnet50", True), ("hf:any/thing", True), ("timm:nonsense", True), ("torchvision", False)],
        *[("model.safetensors", False), (r"C:\models\hf.pth", False), ("runs/hf:x", False), ("http://hf/", False)],
    ],
)
def test_what_a_tag_looks_like(text: str, right: bool) -> None:
    assert is_tag(text) is right


def test_the_guide_names_tags_that_exist() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "pretrained.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"\b(?:{'|'.join(registry.SOURCES)}):[\w./:-]*\w", guide)) - {"hf:owner/name"}
    assert {tag.partition(":")[0] for tag in named} == set(registry.SOURCES)
    assert [tag for tag in named if entry_of(tag) is None] == ["timm:name.tag"]
