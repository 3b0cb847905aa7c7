"""The documentation as a site: it builds without a warning, no link is dead, and nothing comes from elsewhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
ZENSICAL = Path(sys.executable).with_name("zensical")


class Page(HTMLParser):
    """The places of a page, what it links to, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.places, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {found["id"]} if "id" in found else set()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("img", "script", "source", "iframe") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon", "preconnect"):
            self.loads.append(found["href"])


def build(folder, *more):
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copyfile(ROOT / "zensical.toml", folder / "zensical.toml")
    for name, text in more:
        (folder / "docs" / name).write_text(text)
    command = [ZENSICAL, "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(once):
    """Built once, in a folder with nothing but the documents."""

    def make(folder):
        done = build(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in (done.stdout + done.stderr).lower()

    return once("site", make) / "site"


def test_every_document_is_in_it_and_in_its_navigation(site):
    documents = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    text = (ROOT / "zensical.toml").read_text()
    assert set(re.findall(r'"([\w/-]+\.md)"', text)) == documents
    built = {str(path.relative_to(site).with_suffix(".md")) for path in site.rglob("*.html")}
    assert documents <= built
    assert tomllib.loads(text)["project"]["theme"]["font"] is False


def test_no_link_is_dead(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            missing = known and parts.fragment and unquote(parts.fragment) not in known.places
            if not target.exists() or missing:
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    assert dead == []
    assert sum(len(page.links) for page in pages.values()) > 500


def test_nothing_is_loaded_from_elsewhere(site):
    loads = [(path.name, load) for path in site.rglob("*.html") for load in Page(path).loads]
    assert [one for one in loads if urlsplit(one[1]).netloc] == []
    for path in site.rglob("*.html"):
        for load in Page(path).loads:
            if path.name != "404.html":
                assert (path.parent / unquote(urlsplit(load).path)).exists(), (path, load)


@pytest.mark.parametrize("text", ["[gone](nowhere.md)", "[gone](index.md#nowhere)"])
def test_a_dead_link_stops_the_build(tmp_path, text):
    done = build(tmp_path, ("examples.md", f"# Examples\n\n{text}\n"))
    assert done.returncode != 0
    assert "does not exist" in done.stdout + done.stderr
