"""What a notebook shows of a plan, two networks, predictions and an evaluation."""

import xml.etree.ElementTree as ET

import pytest

import resnets
from resnets.inference.prediction import Prediction, Predictions
from resnets.inspection import compare
from resnets.notebook import MOST_ROWS, table

ODD = "<script>alert(1)</script>\x1b[31m"


def parsed(html):
    """The page as a tree, which only well-formed markup becomes."""
    return ET.fromstring(f"<div>{html}</div>")


def cells(html):
    return [list(row.itertext()) for row in parsed(html).iter("tr")]


def test_a_plan_is_drawn_and_tabled():
    plan = resnets.plan("resnet18", num_classes=10)
    page = plan._repr_html_()
    rows = cells(page)
    assert rows[0] == ["layer", "kernel", "stride", "groups", "output", "parameters", "MACs"]
    assert rows[-1][0] == "total"
    assert f"{plan.parameters:,}" in rows[-1]
    assert plan._repr_svg_() in page
    assert parsed(plan._repr_svg_())[0].tag.endswith("svg")


def test_two_networks_side_by_side():
    names = ("resnet50", "resnet50_v1")
    found = compare(*map(resnets.plan, names), names)
    page = found._repr_html_()
    assert found.words[0] in "".join(parsed(page).itertext())
    assert ["stride_conv", "spatial", "first"] in cells(page)


def test_predictions_say_what_and_how_sure():
    sure = Prediction((("cat", 0.97), ("dog", 0.03)), ("cat",), False)
    unsure = Prediction(((ODD, 0.5), ("dog", 0.4)), (ODD, "dog"), True)
    assert cells(sure._repr_html_()) == [["class", "%"], ["cat", "97.0"], ["dog", "3.0"]]
    text = "".join(parsed(unsure._repr_html_()).itertext())
    assert "unsure: one of" in text
    assert "unlike all that the model knows" in text
    both = Predictions([("a.jpg", sure), (ODD, unsure)])._repr_html_()
    assert cells(both)[1][:2] == ["a.jpg", "cat 97.0 %, dog 3.0 %"]
    assert "<script" not in both
    assert "\x1b" not in both


def test_an_evaluation_has_a_row_for_each_class(trained):
    found = resnets.evaluate(trained, "digits")
    rows = cells(found._repr_html_())
    assert [row[0] for row in rows] == ["class", *(one.name for one in found.per_class)]
    assert f"top-1 {found.top1:.1%}" in found._repr_html_()


def test_a_long_plan_keeps_its_total():
    plan = resnets.plan(resnets.ResNetSpec(depths=(2,) * 110, widths=tuple(range(4, 114)), stem="cifar"), image_size=64)
    rows = cells(plan._repr_html_())
    assert rows[-1][0] == "total"
    assert rows[-2][0].startswith("and ")


def test_predictions_keep_their_pictures_when_they_are_sorted_or_cut():
    found = Predictions([(f"{n}.jpg", Prediction((("cat", n / 10),))) for n in range(4)])
    found.sort(key=lambda one: -one.top[0][1])
    found.pop()
    assert [row[0] for row in cells(found._repr_html_())[1:]] == ["3.jpg", "2.jpg", "1.jpg"]
    assert [one["path"] for one in found.document()["predictions"]] == ["3.jpg", "2.jpg", "1.jpg"]


@pytest.mark.parametrize("count", [0, MOST_ROWS, MOST_ROWS + 1])
def test_a_long_table_is_cut_and_counted(count):
    rows = cells(table(("n",), [(str(n),) for n in range(count)]))
    assert len(rows) == 1 + min(count, MOST_ROWS) + (count > MOST_ROWS)
    assert (["and 1 more"] in rows) == (count > MOST_ROWS)
