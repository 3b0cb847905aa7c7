"""The drawing of a network: that it is well-formed, legible, complete, and harmless inside somebody's page."""

import functools
import re
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from resnets.architecture import ResNetSpec, names, plan
from resnets.architecture.spec import CHOICES
from resnets.inspection import diagram, diagrams

SVG = "{http://www.w3.org/2000/svg}"
# Widths of Helvetica's letters in ems, which Arial and Liberation Sans have too: thin, broad, and all others.
WIDTHS = {**dict.fromkeys(" .,;:·'|/()ilIjft-r", 0.3), **dict.fromkeys("mMWw", 0.83)}
HOSTILE = """</title></svg><script>alert("x")</script>&'\x00\ud800\x1b[31m"""
ODD = {
    "one stage": ResNetSpec(depths=(3,), widths=(64,)),
    "seven stages": ResNetSpec(depths=(1, 2, 1, 3, 1, 1, 2), widths=(8, 16, 24, 32, 64, 128, 256)),
    "one channel": ResNetSpec(depths=(2, 2), widths=(1, 2), stem_width=1, shortcut="pad", stem="cifar"),
    "as wide as can be": ResNetSpec(depths=(2, 2), widths=(4096, 4096), block="bottleneck", groups=2, stem_width=16384),
    "zeros on both sides": ResNetSpec(depths=(2, 2), widths=(64, 128), shortcut="pad", pad_side="both"),
    "two groups": ResNetSpec(block="bottleneck", groups=2),
    "plain and pre-activated": ResNetSpec(shortcut="none", order="pre", block="bottleneck"),
    "pre-activated D": ResNetSpec(shortcut="avgpool", order="pre", stem="deep", block="bottleneck"),
    "D with the stride in the last unit": ResNetSpec(shortcut="avgpool", stride_unit="last"),
    **{
        f"{order} {block}": ResNetSpec(depths=(2, 3), widths=(32, 64), stem=stem, order=order, block=block)
        for order in CHOICES["order"]
        for block, stem in (("basic", "cifar"), ("bottleneck", "deep"))
    },
    "zeros behind a relu alone": ResNetSpec(depths=(1, 2), widths=(64, 128), order="relu_pre", shortcut="pad"),
    "long stages": ResNetSpec(depths=(1200, 1, 1300), widths=(16, 16, 16), stem="cifar", stem_width=16),
}
FIGURES = Path(__file__).parents[2] / "docs" / "figures"
EVERY = [*names(), *ODD]


@functools.cache
def made(name):
    return plan(ODD.get(name, name))


@functools.cache
def drawn(name, unfold=False):
    return ElementTree.fromstring(diagram(made(name), name, unfold=unfold))


def classes(root, name):
    """Elements of a class outside the legend."""
    legend = {id(part) for group in by_class(root, "rd-legend") for part in group.iter()}
    return [part for part in by_class(root, name) if id(part) not in legend]


def by_class(root, name):
    return [part for part in root.iter() if name in part.get("class", "").split()]


def texts(root):
    """(left, top, right, bottom, text) of every line of text, its width estimated."""
    for part in root.iter(f"{SVG}text"):
        size, x, y = (float(part.get(key)) for key in ("font-size", "x", "y"))
        width = size * sum(WIDTHS.get(letter, 0.556) for letter in part.text)
        left = x - {"start": 0, "middle": width / 2, "end": width}[part.get("text-anchor")]
        yield left, y - 0.75 * size, left + width, y + 0.2 * size, part.text


def boxes(root):
    """(left, top, right, bottom, what) of everything that is drawn."""
    yield from texts(root)
    for part in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(part.get(key, 0)) for key in ("x", "y", "width", "height"))
        yield x, y, x + width, y + height, part.get("class")
    for part in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", part.get("d"))]
        yield min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]), part.get("class")


def overlaps(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def assert_legible(root):
    width, height = (float(number) for number in root.get("viewBox").split()[2:])
    for left, top, right, bottom, what in boxes(root):
        assert left >= 0, what
        assert top >= 0, what
        assert right <= width, what
        assert bottom <= height, what
    lines = sorted(texts(root), key=lambda box: box[1])
    for i, one in enumerate(lines):
        for other in lines[i + 1 :]:
            if other[1] >= one[3]:
                break
            assert not overlaps(one, other), (one, other)


@pytest.mark.parametrize("unfold", [False, True], ids=["folded", "unfolded"])
@pytest.mark.parametrize("name", EVERY)
def test_nothing_overlaps_and_nothing_is_cut_off(name, unfold):
    assert_legible(drawn(name, unfold))


@pytest.mark.parametrize("unfold", [False, True], ids=["folded", "unfolded"])
@pytest.mark.parametrize("name", EVERY)
def test_no_edge_of_a_card_or_a_box_cuts_a_text(name, unfold):
    root = drawn(name, unfold)
    cards = [by_class(card, "rd-card")[-1] for card in by_class(root, "rd-unit")]  # of a pile the one in front
    for stage in by_class(root, "rd-stage"):
        inside = {id(part) for part in stage.iter()}
        lines = list(texts(stage))
        for part in (part for part in (*cards, *by_class(root, "rd-box")) if id(part) in inside):
            left, top, width, height = (float(part.get(key)) for key in ("x", "y", "width", "height"))
            edge = (left, top, left + width, top + height)
            for text in lines:
                within = edge[0] <= text[0] and edge[1] <= text[1] and text[2] <= edge[2] and text[3] <= edge[3]
                assert within or not overlaps(edge, text), text


@pytest.mark.parametrize("name", EVERY)
def test_folded_units_add_up(name):
    for group, units in zip(by_class(drawn(name), "rd-stage")[:-1], made(name).stages, strict=True):
        cards = by_class(group, "rd-unit")
        numbers = [re.findall(r"\d+", by_class(card, "rd-dim")[0].text) for card in cards]
        badges = [badge.text for card in cards for badge in by_class(card, "rd-times")]
        runs = [(int(run[0]), int(run[-1])) for run in numbers]
        assert runs[0][0] == 1
        assert runs[-1][1] == len(units)
        assert all(after[0] == before[1] + 1 for before, after in pairwise(runs))
        assert badges == [f"× {last - first + 1}" for first, last in runs if last > first]


@pytest.mark.parametrize("name", EVERY)
def test_unfolded_there_is_a_card_for_every_unit_and_a_shortcut_of_its_kind(name):
    root = drawn(name, True)
    units = [unit for stage in made(name).stages for unit in stage]
    assert len(by_class(root, "rd-unit")) == len(units)
    assert len(classes(root, "rd-dashed")) == sum(bool(unit.shortcut) for unit in units)
    assert len(classes(root, "rd-solid")) == sum(unit.addition is not None and not unit.shortcut for unit in units)


@pytest.mark.parametrize("name", names("plain*"))
def test_a_plain_network_has_no_shortcut_no_addition_and_no_word_of_them(name):
    root = drawn(name, True)
    for kind in ("rd-solid", "rd-dashed", "rd-sum"):
        assert by_class(root, kind) == []
    assert not any("shortcut:" in text for *_, text in texts(root))


def order(name):
    """The layers of the first unit's branch, as they stand from left to right."""
    card = by_class(drawn(name), "rd-unit")[0]
    kinds = {f"rd-{kind}": kind for kind in ("conv", "norm", "relu")}
    slabs = [part for part in card.iter(f"{SVG}rect") if part.get("class") in kinds and float(part.get("height")) != 20]
    return [kinds[slab.get("class")] for slab in sorted(slabs, key=lambda slab: float(slab.get("x")))]


def test_the_order_of_norm_relu_and_convolution_is_that_of_the_plan():
    assert order("resnet18") == ["conv", "norm", "relu", "conv", "norm", "relu"]
    assert order("resnet50") == ["conv", "norm", "relu", "conv", "norm", "relu", "conv", "norm", "relu"]
    assert order("keras_resnet50v2") == ["norm", "relu", "conv"] * 3
    assert order("norm_after_add bottleneck") == ["conv", "norm", "relu"] * 3
    assert order("relu_before_add basic") == ["conv", "norm", "relu"] * 2
    assert order("relu_pre bottleneck") == ["relu", "conv", "norm"] * 3


@pytest.mark.parametrize("block", CHOICES["block"])
@pytest.mark.parametrize(
    ("order", "behind"),
    [("post", ["relu"]), ("norm_after_add", ["norm", "relu"]), ("relu_before_add", []), ("relu_pre", []), ("pre", [])],
)
def test_what_stands_behind_the_addition_is_drawn_behind_it(order, block, behind):
    for card in by_class(drawn(f"{order} {block}"), "rd-unit"):
        (ring,) = [part for part in by_class(card, "rd-sum") if part.tag == f"{SVG}circle"]
        slabs = [part for kind in ("norm", "relu") for part in by_class(card, f"rd-{kind}")]
        after = [part for part in slabs if float(part.get("x")) > float(ring.get("cx"))]
        assert [part.get("class") for part in sorted(after, key=lambda part: float(part.get("x")))] == [
            f"rd-{kind}" for kind in behind
        ]


@pytest.mark.parametrize(("name", "first", "second"), [("resnet50", "conv", "norm"), ("resnetv2_50", "relu", "conv")])
def test_norm_and_relu_touch_the_convolution_that_they_belong_to(name, first, second):
    for card in by_class(drawn(name), "rd-unit"):
        shared = name == "resnetv2_50" and by_class(card, "rd-dashed")  # there the shortcut begins in between
        ends = [float(slab.get("x")) + float(slab.get("width")) for slab in by_class(card, f"rd-{first}")][:3]
        starts = [float(slab.get("x")) for slab in by_class(card, f"rd-{second}")][:3]
        gaps = [start - end for end, start in zip(ends, starts, strict=True)]
        assert all(gap == pytest.approx(1, abs=0.2) for gap in gaps[1 if shared else 0 :])


def test_a_slab_is_a_step_taller_for_every_doubling():
    conv = [
        [float(s.get("height")) for s in by_class(group, "rd-conv")]
        for group in by_class(drawn("resnet18"), "rd-stage")
    ]
    assert [stage[0] for stage in conv[:4]] == [40, 50, 60, 70]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet50", ["64×112×112", "256×56×56", "2048×7×7", "3×3 /2", "1×1, 512 /2", "1,000 classes"]),
        ("resnet50_v1", ["1×1 /2"]),
        ("resnext50_32x4d", ["32 groups", "grouped convolution: separate paths"]),
        ("wide_resnet50_2", ["dotted: the usual width", "128", "2 times as wide"]),
        ("resnet20", ["+16 zeros /2", "shortcut: zero channels (option A)", "32×16×16", "10 classes"]),
        ("resnet50d", ["average 2×2 /2", "1×1, 512", "deep stem", "32×112×112"]),
        ("slim_resnet_v1_50", ["every 2nd pixel", "stride in a stage's last unit"]),
        ("keras_resnet50v2", ["pre-activation (v2)"]),
        ("plain34", ["plain: no shortcuts"]),
        ("resnet110", ["units 2–18", "× 17"]),
        ("zeros on both sides", ["+64 zeros both sides /2"]),
    ],
)
def test_what_makes_a_network_special_is_written(name, said):
    found = " | ".join(text for *_, text in texts(drawn(name)))
    for words in said:
        assert words in found


def test_groups_part_into_paths():
    def paths(name):
        card = by_class(drawn(name), "rd-unit")[0]
        return len(by_class(card, "rd-conv"))

    assert paths("resnet50") == 3
    assert paths("resnext50_32x4d") == 2 + 5  # no more than five are drawn
    assert paths("two groups") == 2 + 2


def test_only_a_wide_network_shows_the_usual_width():
    assert len(by_class(drawn("wide_resnet50_2"), "rd-usual")) > 1
    assert by_class(drawn("resnet50"), "rd-usual") == []


@pytest.mark.parametrize("name", ["resnetv2_50", "relu_pre bottleneck"])
def test_a_preactivation_that_is_shared_is_where_the_shortcut_begins(name):
    """He 2016, figure 4e: a projection reads the first ReLU's output, an identity the unit's input."""
    first, second = by_class(drawn(name), "rd-unit")[:2]
    for card, shared in ((first, True), (second, False)):
        relu = min(float(slab.get("x")) for slab in by_class(card, "rd-relu"))
        dot = min(float(dot.get("cx")) for dot in by_class(card, "rd-tip") if dot.tag == f"{SVG}circle")
        assert (dot > relu) is shared


def test_dilation_is_written():
    root = ElementTree.fromstring(diagram(plan("resnet50", output_stride=8), "dense"))
    assert {"3×3 d2", "3×3 d4"} <= {text for *_, text in texts(root)}


@pytest.mark.parametrize(("name", "limit"), [("resnet110", 2.5), ("resnet152", 4), ("preact_resnet164", 3)])
def test_a_hundred_layers_are_a_page_and_no_strip(name, limit):
    width, height = (float(number) for number in drawn(name, True).get("viewBox").split()[2:])
    assert height < limit * width


def test_a_thousand_layers_fold_to_as_little_as_twenty():
    assert len(diagram(made("resnet1202"), "a")) < 1.1 * len(diagram(made("resnet20"), "a"))


@pytest.mark.parametrize("text", [HOSTILE, "", "x" * 3000, "网络 🐈 ‮evil"])
def test_a_name_is_text_and_nothing_else(text):
    svg = diagram(made("resnet18"), text)
    root = ElementTree.fromstring(svg)
    svg.encode("utf-8")
    assert_legible(root)
    assert {part.tag.removeprefix(SVG) for part in root.iter()} == {
        *("svg", "title", "desc", "style", "rect", "g", "text", "path", "circle")
    }
    assert len(svg) < len(diagram(made("resnet18"), "")) + 15_000


def test_the_same_network_is_the_same_bytes():
    assert diagram(plan("resnet50"), "a") == diagram(plan("resnet50"), "a")


def test_it_stands_alone_scales_and_can_be_read_out():
    svg = diagram(made("resnet50"), "resnet50")
    root = ElementTree.fromstring(svg)
    assert not re.search(r"href|url\(|@import|<script|<image|https?://(?!www\.w3\.org/2000/svg\")", svg)
    assert root.get("role") == "img"
    spoken = {part.get("id"): part.text for part in root if part.get("id")}
    assert list(spoken) == root.get("aria-labelledby").split()
    assert "resnet50" in next(iter(spoken.values()))
    assert "stage 3: 6 units, output 1024×14×14" in list(spoken.values())[1]


def test_no_style_of_it_leaks_into_the_page_around_it():
    root = drawn("resnet50")
    style = root.find(f"{SVG}style").text.replace("@media screen and (prefers-color-scheme:dark){", "")
    selectors = re.findall(r"([^{}]+)\{", style)
    assert selectors
    assert all(selector.strip().startswith(".resnets-diagram") for selector in selectors)
    for part in root.iter():
        assert all(name.startswith("rd-") or name == "resnets-diagram" for name in part.get("class", "").split())


def test_two_of_them_in_a_page_share_no_id():
    page = diagram(made("resnet18"), "one") + diagram(made("resnet18"), "two") + diagram(made("resnet34"), "one")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) == 6


def test_it_is_also_html():
    """Inside a page there are no self-closing rules of XML: every element that is opened is closed."""

    class Reader(HTMLParser):
        open = 0

        def handle_starttag(self, tag, attrs):
            self.open += 1

        def handle_endtag(self, tag):
            self.open -= 1

        def handle_startendtag(self, tag, attrs):
            pass

    reader = Reader()
    reader.feed(diagram(made("resnet50"), HOSTILE))
    assert reader.open == 0


@pytest.mark.parametrize(
    "pair",
    [("resnet50", "resnet50_v1"), ("resnet34", "plain34"), ("resnet50", "resnet20"), ("resnet18", "seven stages")],
)
@pytest.mark.parametrize("unfold", [False, True])
def test_two_networks_side_by_side(pair, unfold):
    root = ElementTree.fromstring(diagrams(made(pair[0]), made(pair[1]), pair, unfold=unfold))
    assert_legible(root)
    together = sum(len(by_class(drawn(name, unfold), "rd-unit")) for name in pair)
    assert len(by_class(root, "rd-unit")) == together
    stages = [group for group in by_class(root, "rd-stage") if by_class(group, "rd-band")]
    tops = [float(by_class(group, "rd-band")[0].get("y")) for group in stages]
    both = min(len(made(name).stages) for name in pair)
    first = len(made(pair[0]).stages)
    assert tops[:both] == tops[first : first + both]  # stage beside stage
    assert any("has" in text for *_, text in texts(root))


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.svg")), ids=lambda path: path.stem)
def test_the_figures_of_the_documentation_are_up_to_date(path):
    """Draw them again where they are not: `resnets show NAME --diagram docs/figures/NAME.svg`."""
    pair = path.stem.split("-")
    again = diagrams(*map(made, pair), tuple(pair)) if len(pair) == 2 else diagram(made(path.stem), path.stem)
    assert path.read_text(encoding="utf-8") == again
    assert f"figures/{path.name}" in (FIGURES.parent / "guides" / "diagrams.md").read_text(encoding="utf-8")


def test_every_two_signs_of_the_legend_differ():
    for name in ("resnext50_32x4d", "wide_resnet50_2", "slim_resnet_v1_50"):
        legend = by_class(drawn(name), "rd-legend")[0]
        said = [part.text for part in legend.iter(f"{SVG}text") if "rd-dim" in part.get("class")]
        assert all(one != other for one, other in combinations(said, 2))
