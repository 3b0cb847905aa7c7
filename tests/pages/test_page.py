"""Pages: whole, offline, and safe whatever the names say."""

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from resnets.errors import DataError, ModelFileError
from resnets.pages import page

HOSTILE = [
    "<script>alert(1)</script>",
    'a" onload="x',
    "two\nlines",
    "\u202eright to left",
    "\udcff",
    "&amp;",
    "{{ 1 + 1 }}",
]


@pytest.fixture
def template(tmp_path):
    """A maker of a template with a body of one's own."""

    def make(body: str):
        text = (
            f'{{% extends "page.html" %}}{{% block title %}}T{{% endblock %}}{{% block body %}}{body}{{% endblock %}}'
        )
        (tmp_path / "own.html").write_text(text)
        return lambda **values: page.render("own.html", folders=(tmp_path,), **values)

    return make


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_and_nothing_else(template, name):
    text = template('<p title="{{ name }}">{{ name }}</p>')(name=name)
    body = text[text.index("<main>") : text.index("</main>")]
    assert "<script" not in body
    assert body.count("<") == 3  # <main>, <p>, </p>: the name opened none
    assert body.count('"') == 2
    assert "\u202e" not in text
    assert body.count("\n") == template("<p></p>")().split("<main>")[1].split("</main>")[0].count("\n")
    text.encode()


def test_a_page_loads_nothing_and_runs_nothing(template):
    text = template("")()
    assert text.startswith(page.BEGINNING)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    for word in ("http:", "https:", "<script", "<link", "@import", "url("):
        assert word not in text


def test_a_name_without_a_value_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError):
        template("{{ nothing }}")()


def test_filters(template):
    text = template(
        "{{ 0.7442|percent }}|{{ 0.7442|percent(2) }}|{{ none|percent }}|{{ 3925|count }}|{{ 200|duration }}"
    )()
    assert "74.4 %|74.42 %|-|3,925|3 min 20 s" in text


def read(uri):
    kind, _, data = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


def test_a_photo_is_a_small_jpeg():
    pixels = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    image = read(page.picture(pixels, 112))
    assert (image.format, image.size) == ("JPEG", (75, 112))
    assert read(page.picture(pixels)).size == (200, 300)


def test_a_tiny_picture_keeps_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    image = read(page.picture(pixels, 100))
    assert (image.format, image.size) == ("PNG", (96, 96))
    assert np.array_equal(np.asarray(image)[5::12, 5::12], pixels)


def test_what_can_be_replaced(tmp_path):
    path = tmp_path / "report.html"
    page.check(path)
    page.write(path, f"{page.BEGINNING}\n{page.OURS.decode()}<p>é</p>")
    page.check(path)
    assert path.read_text(encoding="utf-8").endswith("<p>é</p>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["photo.jpg", "site.html", "folder", "nowhere/report.html"])
def test_what_is_never_replaced(tmp_path, name):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "site.html").write_text("<!doctype html><title>Mine</title>")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"is no page of ours|is a folder|no folder .*nowhere"):
        page.check(tmp_path / name)
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8\xff"


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be written"):
        page.write(tmp_path / "nowhere" / "report.html", "text")
    path = tmp_path / "report.html"
    page.write(path, page.BEGINNING)
    with pytest.raises(UnicodeEncodeError):
        page.write(path, "\ud800")
    assert path.read_text() == page.BEGINNING


def test_what_stands_in_backquotes_is_code_and_names_stay_harmless():
    assert page.code("run `resnets doctor --fix-into` on <b>\n") == (
        "run <code>resnets doctor --fix-into</code> on &lt;b&gt;\\n"
    )
    assert page.code("a`b") == "a`b"
    assert page.code("`<img src=x>`") == "<code>&lt;img src=x&gt;</code>"
