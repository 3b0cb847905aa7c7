"""A plot is drawn twice from the same numbers."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from resnets.pages.plot import Line, Plot, draw, errors


def made(**more):
    lines = [
        Line(name="a<b>", points=[(1, 0.5), (2, 0.25)], spread=[(0.4, 0.6), None]),
        Line(name="", points=[(1, 0.75), (2, 0.5)], colour=1, dashed=True),
    ]
    return Plot(**{"title": "t", "x_label": "epoch", "y_label": "error", "lines": lines, "form": "percent", **more})


def test_the_frame_holds_all_lines_and_bars():
    frame = made().frame
    assert frame.y_range == (0.0, pytest.approx(0.75 + 0.06 * 0.5))
    assert frame.x_range == (pytest.approx(0.95), pytest.approx(2.05))
    assert made(top=0.6).frame.y_range[1] < 0.65
    assert made(form="number").frame.y_range[0] < 0.25


def test_ticks_are_the_places_that_there_are():
    assert made().x_ticks() == [(1, "1"), (2, "2")]
    assert made(ticks=[(0, "A"), (1, "B")]).x_ticks() == [(0, "A"), (1, "B")]
    many = made(lines=[Line(name="m", points=[(x, 0.1) for x in range(30)])])
    assert len(many.x_ticks()) <= 8
    assert [made(form="power").shown(-3), made().shown(0.25), made(form="number").shown(2)] == ["1e-3", "25 %", "2"]


def test_files_are_drawn(tmp_path):
    empty = made(lines=[Line(name="nothing", points=[])])
    odd = made(lines=[Line(name="odd", points=[(1, math.nan), (2, 0.5)])])
    draw([made(), empty, odd, made(form="power")], "a $title^", tmp_path / "a.png", tmp_path / "a.svg")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000
    assert "a $title^" in (tmp_path / "a.svg").read_text()
    assert errors([(1, 0.9)]) == [(1, pytest.approx(0.1))]
