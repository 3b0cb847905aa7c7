"""What is released: the same bytes from the same sources, what belongs into them, and the files that go with it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from resnets.cli.main import commands

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOP = ("src", "tests", "docs", "examples", "benchmarks", ".ci")


def build(folder, stamp, mask):
    """Wheel and sdist of a copy of the sources whose files have other times and modes; returns them by suffix."""
    source = folder / "source"
    source.mkdir(parents=True)
    before = os.umask(mask)
    try:
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copyfile(path, source / path.name)
            elif path.name in TOP:
                shutil.copytree(
                    path,
                    source / path.name,
                    copy_function=shutil.copyfile,
                    ignore=shutil.ignore_patterns("__pycache__"),
                )
        for path in source.rglob("*"):
            os.utime(path, (stamp, stamp))
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder / "dist")]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
    finally:
        os.umask(before)
    return {path.suffix: path for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two builds, years apart."""
    folder = tmp_path_factory.mktemp("release")
    return build(folder / "one", 1_600_000_000, 0o022), build(folder / "other", 1_700_000_000, 0o077)


@pytest.mark.parametrize("suffix", [".whl", ".gz"])
def test_the_same_sources_give_the_same_bytes(built, suffix):
    one, other = (hashlib.sha256(built[number][suffix].read_bytes()).hexdigest() for number in (0, 1))
    assert one == other


def test_the_wheel_holds_the_package_and_nothing_else(built):
    wheel = built[0][".whl"]
    assert wheel.stat().st_size <= 2 * 2**20
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"resnets-{PROJECT['version']}.dist-info"
        assert {name.split("/")[0] for name in names} == {"resnets", info}
        assert f"{info}/licenses/LICENSE" in names
        points = archive.read(f"{info}/entry_points.txt").decode()
    assert "resnets = resnets.cli.main:main" in points
    there = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "resnets").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("resnets/")} == there


def test_the_sdist_holds_what_the_readme_needs(built):
    with tarfile.open(built[0][".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "pyproject.toml", "LICENSE", "CITATION.cff", ".ci/run", "tests/test_release.py"} <= names
    assert {name.split("/")[0] for name in names} <= {
        *TOP,
        *(p.name for p in ROOT.iterdir() if p.is_file()),
        "PKG-INFO",
    }
    assert [name for name in names if name.endswith((".pyc", ".pt", ".zip")) or "__pycache__" in name] == []


def test_one_version_everywhere():
    version = PROJECT["version"]
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert re.search(rf"^## \[(Unreleased|{re.escape(version)})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_citation_has_what_the_format_asks_for():
    from yaml import safe_load

    cited = safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "title", "message", "authors", "version", "license"} <= cited.keys()
    assert cited["license"] == PROJECT["license"]
    for work in cited["references"]:
        assert {"type", "title", "authors"} <= work.keys()


def test_the_dockerfile_has_nothing_to_find_fault_with():
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint has no build for this system")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_takes_what_the_project_asks_for():
    """The version of torch, the files that the build reads, and a verb to begin with."""
    text = (ROOT / "Dockerfile").read_text()
    assert next(one for one in PROJECT["dependencies"] if one.startswith("torch")) in text
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)).split()
    allowed = (ROOT / ".dockerignore").read_text().split()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed
    assert text.rstrip().endswith('CMD ["--help"]')
    assert "predict" in commands()
