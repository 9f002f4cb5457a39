"""The site of the documentation: built with warnings as errors and without a network, every link checked, and every
command of its tutorial and explanations run as written.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.main import get_command

from sweeplaw.analysis.hyperlaws.published import LAWS
from sweeplaw.orchestrator.cli import app
from tests.paths import ROOT
from tests.references import blocks

pytestmark = [pytest.mark.process, pytest.mark.heavy]

# Put before every process of the build: whoever reaches for a network is told.
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise RuntimeError(f"the build reaches for {address}")
    return _connect(self, address)
socket.socket.connect = connect
"""
EXPLAINED = sorted((ROOT / "docs" / "explained").glob("*.md"))
RUNNABLE = [
    *EXPLAINED,
    *(ROOT / "docs" / "howto" / f"{name}.md" for name in ("editors", "foreign_script", "rehearsal")),
]


class Links(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        if tag in ("script", "img", "iframe") and (source := values.get("src")):
            self.loaded.append(source)
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect"):
            self.loaded.append(str(values.get("href")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(NO_NETWORK)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder / "site"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder / "hooks"), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_and_every_link_leads_somewhere(site: Path, pages: dict[Path, Links]) -> None:
    dead, checked = [], 0
    for page, found in pages.items():
        if page.name == "404.html":  # whose links start from the root of a server
            continue
        for target in (*found.links, *found.loaded):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            there = file.is_file() and (not anchor or file.suffix != ".html" or anchor in pages[file].anchors)
            checked += 1
            if not there:
                dead.append(f"{page.relative_to(site)}: {target}")
    assert not dead
    assert checked > 2000


def test_no_page_shows_the_mark_of_a_file_instead_of_the_file(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r"8\s*&lt;\s*-", re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))), page


def test_the_site_loads_nothing_from_a_network(pages: dict[Path, Links]) -> None:
    loaded = [source for found in pages.values() for source in found.loaded]
    assert len(loaded) > 100
    assert not [source for source in loaded if urlsplit(source).netloc]


def test_every_document_is_a_page_that_the_navigation_shows(site: Path, pages: dict[Path, Links]) -> None:
    shown = {urlsplit(target).path for target in pages[site / "index.html"].links}
    documents = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert len(documents) > 25
    assert {path.as_posix() for path in documents} <= shown


def test_the_reference_has_every_command_option_and_published_law(site: Path) -> None:
    text = (site / "commands.html").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {})
        for child, one in below.items() or [("", command)]:
            assert f'id="{"-".join(["sweeplaw", name, child]).strip("-")}"' in text, name
            named = [parameter.opts for parameter in one.params if parameter.param_type_name == "option"]
            assert all(option in text for options in named for option in options), name
    laws = (site / "published.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in laws for name in LAWS)
    assert len(LAWS) > 5


def test_the_gallery_shows_a_law_that_holds_and_one_that_cannot_be_known(site: Path) -> None:
    law, two = ((site / "gallery" / f"{name}.html").read_text(encoding="utf-8") for name in ("law", "two_sizes"))
    assert "parameters identified" in law
    assert "not identified" not in re.sub(r"<[^>]+>", "", law)
    assert "not identified" in two


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tutorial has been followed; `said.json` has what its commands printed."""
    here = tmp_path_factory.mktemp("tutorial")
    (here / "said.json").write_text(json.dumps(run(ROOT / "docs" / "tutorial.md", here)))
    return here


def run(document: Path, folder: Path) -> dict[str, str]:
    """Return what each command of a document prints, after writing the files that it shows."""
    text = document.read_text(encoding="utf-8")
    for name, content in re.findall(r'^```toml title="([\w.]+)"\n(.*?)^```$', text, flags=re.MULTILINE | re.DOTALL):
        (folder / name).write_text(content, encoding="utf-8")
    said = {}
    for line in (line for block in blocks(text, "bash") for line in block.splitlines()):
        words = shlex.split(line, comments=True)
        assert words[0] == "sweeplaw", line
        command = shlex.join([sys.executable, "-m", *words]).replace("'>'", ">")
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        said[line.partition("  #")[0].strip()] = done.stdout
    return said


@pytest.mark.slow
def test_the_tutorial_runs_as_written_and_says_what_happens(folder: Path) -> None:
    said = json.loads((folder / "said.json").read_text())
    assert "450 trials" in said["sweeplaw plan first.toml"]
    fit = said["sweeplaw fit results/first additive"]
    assert "verdicts: optimum found; law adequate; parameters identified" in fit
    for name, planted in (("E", 1.8172), ("alpha", 0.3478)):
        low, high = map(float, re.search(rf"^{name} +\S+ +(\S+) +(\S+)$", fit, flags=re.MULTILINE).groups())  # type: ignore[union-attr]
        assert low < planted < high
    few = said['sweeplaw fit results/first additive --where "params < 4e7"']
    # Along so flat a valley the end depends on the kernels of the BLAS: .155 to .188 with four of them.
    assert re.search(r"alpha is not identified: it is at least 0\.1\d+, and any larger value", few)
    assert "no allocation of compute" in few
    assert (folder / "results" / "first" / "report.html").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("document", RUNNABLE, ids=lambda path: path.stem)
def test_the_commands_of_explanations_and_guides_run_as_written(folder: Path, document: Path) -> None:
    assert len(run(document, folder)) >= (1 if document.stem != "searches" else 0)
