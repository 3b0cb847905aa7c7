"""The pages in a real browser: `pytest -m browser`, with playwright and a Chromium at hand."""

import json
import shutil

import numpy as np
import pytest

import studied
from reports import classifier, evaluation, judgement
from resnets.evaluation.comparison import compare_judgements
from resnets.pages import comparison, report
from resnets.studies import STUDIES, StudyResult
from resnets.studies import page as study_page
from resnets.weights import Provenance

pytestmark = pytest.mark.browser

NAMES = ("tench", "עברית", "x" * 200, '<script>alert("x")</script>', "two\nlines", "church", "golf ball")
PAGES = {
    "two": ("cat", "dog"),
    "hostile": NAMES,
    "ten": tuple(f"n0{number}440764" for number in range(10)),
    "many": tuple(f"class number {number}" for number in range(200)),
}
FINDINGS = [
    {"kind": "leak", "severity": s, "paths": ["val/" + "y" * 300], "mend": "Mend.", "text": s}
    for s in ("error", "warning", "note")
]

# Every visible text whose contrast with what lies behind it is below 4.5 (WCAG 2, level AA), and what is measured.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) => top.slice(0, 3).map((c, i) => (c * top[3] + below[i] * (255 - top[3])) / 255);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const low = []; let seen = 0;
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("svg:not(.chart), title, .unseen")) continue;
    const stack = [];
    for (let e = element; e; e = e.parentElement) stack.unshift(rgba(getComputedStyle(e).backgroundColor));
    const behind = stack.reduce((below, top) => over(top, below), [255, 255, 255]);
    const style = getComputedStyle(element);
    const ink = over(rgba(element.closest("svg") ? style.fill : style.color), behind);
    const [dark, bright] = [light(ink), light(behind)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05);
    seen += 1;
    if (ratio < 4.5) low.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return [seen, low];
}"""


@pytest.fixture(scope="module")
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def logged(run):
    """A folder with the log of a training, as far as a page reads it."""
    run.mkdir()
    figures = ("loss", "held_out_loss", "top1", "train_top1")
    lines = [{"kind": "epoch", "step": 4 * n, "epoch": n, **dict.fromkeys(figures, 1 / n)} for n in range(1, 9)]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return run


def _study(path):
    """A study of which every network has three runs."""
    course = [{"epoch": n, "taught_top1": 1 - 1 / n, "top1": 1 - 1.2 / (n + 0.2)} for n in range(1, 9)]
    members = STUDIES["shortcuts"].members(True)
    runs = [studied.run(m.name, seed, 0.9, 0.7 + seed / 50, course=course) for m in members for seed in range(3)]
    found = studied.found("shortcuts", runs)
    says, holds = STUDIES["shortcuts"].says(found)
    result = StudyResult(study="shortcuts", says=says, holds=holds, found=found, page=str(path), left=0)
    plots = list(STUDIES["shortcuts"].draws(found))
    study_page.write(path, result, STUDIES["shortcuts"], plots, quick=True, asked={"data": "'my <b> photos'"})


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of several kinds, and a comparison: name to file."""
    folder = tmp_path_factory.mktemp("pages")
    for name, classes in PAGES.items():
        one = judgement(classes, 60 if len(classes) < 20 else 10, side=96)
        model = classifier(classes, provenance=Provenance(network="resnet18", recipe={"learning_rate": 0.1}))
        report.write(folder / f"{name}.html", model, evaluation(one), data="photos", findings=FINDINGS)
    result = compare_judgements(judgement(NAMES, seed=1), judgement(NAMES, seed=2), NAMES[:2])
    _study(folder / "study.html")
    comparison.write(folder / "comparison.html", result, "photos", [str(logged(folder / name)) for name in "ab"])
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
@pytest.mark.parametrize("name", [*PAGES, "comparison", "study"])
def test_a_page_is_readable_and_keeps_to_itself(chromium, pages, name, width, scheme):
    page = chromium.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    address, asked, said = (pages / f"{name}.html").as_uri(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda problem: said.append(str(problem)))
    page.on("dialog", lambda dialog: said.append("a dialog"))
    page.goto(address)
    assert [url for url in asked if url != address and not url.startswith("data:")] == []
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.evaluate(
        "[...document.images].map((image) => [image.alt, image.complete && image.naturalWidth > 0])"
    )
    assert all(alt and loaded for alt, loaded in pictures)
    named = "(svg) => svg.ariaLabel || svg.getAttribute('aria-labelledby')"
    assert page.evaluate(f"[...document.querySelectorAll('svg[role=img]')].every({named})")
    seen, low = page.evaluate(CONTRAST)
    assert seen > 20
    assert low == []
    page.close()


def test_the_contrast_is_really_measured(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<main style='background:#fff'><p style='color:#999'>pale</p><p style='color:#555'>dark</p></main>")
    page = chromium.new_page()
    page.goto(path.as_uri())
    assert page.evaluate(CONTRAST) == [2, ["pale: 2.85"]]
    page.close()


def test_paper_is_light_even_when_the_screen_is_dark(chromium, pages):
    page = chromium.new_page(color_scheme="dark")
    page.goto((pages / "ten.html").as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) != "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert len(page.pdf(format="A4")) > 10_000
    page.close()


def test_pictures_are_as_sharp_as_they_are(chromium, pages):
    """A heat map's cells are squares, not a blur."""
    page = chromium.new_page()
    page.goto((pages / "many.html").as_uri())
    assert page.evaluate("getComputedStyle(document.querySelector('svg.heat image')).imageRendering") == "pixelated"
    assert np.all(
        np.array(page.evaluate("(e => [e.width, e.height])(document.querySelector('svg.heat').getBBox())")) > 200
    )
    page.close()
