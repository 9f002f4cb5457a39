"""The page of a report in a real browser: no errors, nothing cut at any width, nothing fetched, no script needed."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.analysis.report import report
from sweeplaw.analysis.report.page import page
from sweeplaw.analysis.tables.display import finite
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

WIDTHS = (400, 1000, 1600)
SWEEP = """
name = "browser"
description = "Quotes \\" and <script>document.title = 'run'</script> are text."
workload = "surrogate"
seeds = 2
[scientific]
params = { log = [1e7, 1e9], num = 4 }
tokens = { log = [1e9, 1e11], num = 4 }
[nuisance]
lr = { log = [3e-4, 3e-2], num = 4 }
batch_sequences = { log = [32, 1024], num = 3 }
[fixed]
noise = 0.0005
weight_decay = 0.1
"""

LOOK = Path(__file__).with_name("look.js")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("browser") / "s"
    launch(plan(parse(SWEEP)), Store.open(path, create=True), profile.load("inline"), Silent())
    made = report.make(path)
    return page(made, finite(report.report_values(made)))


class Silent:
    """Observer of a launch that ignores everything."""

    def started(self, todo: Any, already: Any, cluster: Any) -> None:
        pass

    def recorded(self, rows: Any) -> None:
        pass


def looked_at(text: str, folder: Path, theme: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Return what `look` sees at each width, and the browser's messages."""
    themed = text.replace('<html lang="en">', f'<html lang="en" data-theme="{theme}">')
    (folder / "page.html").write_text(themed, encoding="utf-8")
    frames = "".join(f'<iframe id="w{w}" style="width:{w}px;height:900px;border:0"></iframe>' for w in WIDTHS)
    content = json.dumps(themed).replace("</", r"<\/")
    script = f"{LOOK.read_text()}\nlookAt({content}, {list(WIDTHS)});"
    driver = folder / f"driver-{theme}.html"
    driver.write_text(f'<!doctype html><meta charset="utf-8">{frames}<pre id="seen"></pre><script>{script}</script>')
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000",
        "--window-size=1700,1000", "--dump-dom", driver.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found is not None, done.stderr[-2000:]
    assert found[1], done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen.pop("errors") == []
    return seen, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_is_whole_at_every_width_and_without_errors(text: str, tmp_path: Path, theme: str) -> None:
    seen, messages = looked_at(text, tmp_path, theme)
    assert messages == ""
    assert sorted(map(int, seen)) == sorted(WIDTHS)
    for width, one in seen.items():
        assert one["title"] == "browser – scaling laws"  # the description ran no script
        assert one["scroll"] <= 0, f"scrolls sideways at {width}"
        assert one["charts"] >= 8
        assert one["empty"] == 0
        assert one["cut"] == [], f"at {width}"
        assert one["pale"] == []
        assert one["unnamed"] == 0
        assert one["focusable"] == one["figures"] > 0
        assert one["downloads"] > 4
        assert "loss" in one["tip"]  # an arrow key walks the marks of a figure
        assert re.fullmatch(r"\d+ of 192 settings. Esc clears an axis.", one["kept"])
        assert one["fetched"] == []
        assert one["fonts"] == ["Inter", "Inter"]  # both weights, from within the page
        zooms(one["zoom"])


def zooms(seen: dict[str, Any]) -> None:
    """Check that marks and ticks of a zoomed chart stand where their values say, and that all ways lead back."""
    left, top, right, bottom = seen["box"]
    whole = seen["whole"]["dots"]
    assert seen["enabled"] == [True, False]
    for view, (a, b, c, d) in (("closer", (0.25, 0.75, 0.25, 0.75)), ("dragged", (0.25, 0.75, 0.5, 1.0))):
        for (x, y, _), (fx, fy, shown) in zip(whole, seen[view]["dots"], strict=True):
            across, up = ((x - left) / (right - left) - a) / (b - a), ((bottom - y) / (bottom - top) - c) / (d - c)
            assert (fx, fy) == pytest.approx((left + across * (right - left), bottom - up * (bottom - top)), abs=0.5)
            assert shown == (left - 1 <= fx <= right + 1 and top - 1 <= fy <= bottom + 1)
        assert len(seen[view]["x"]) >= 2
        assert len(seen[view]["y"]) >= 2
        low, high, scale, _ = seen["axes"][1].split(" ")
        assert scale == "linear"
        for _, y, text in seen[view]["y"]:
            share = c + (bottom - (y - 4)) / (bottom - top) * (d - c)
            assert float(text) == pytest.approx(float(low) + share * (float(high) - float(low)), rel=1e-4)
    for view in ("print", "all", "reset", "scrolled", "keyed"):
        assert seen[view] == seen["whole"], view
    assert seen["printed"] == seen["closer"]
    assert seen["wheeled"]["zoomed"]
    assert not seen["wheeled"]["free"]  # the page does not zoom with it


def test_open_folds_and_long_words_do_not_scroll_the_page(text: str, tmp_path: Path) -> None:
    opened = text.replace('<details class="fold">', '<details class="fold" open>')
    assert "cluster inline" in opened
    seen, _ = looked_at(opened.replace("cluster inline", "8" * 64), tmp_path, "light")
    assert {width: one["scroll"] for width, one in seen.items() if one["scroll"] > 0} == {}


def test_without_a_script_the_page_is_whole(text: str) -> None:
    bare = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert bare.count('<svg class="ch"') >= 8
    assert bare.count("data:text/csv") > 4
    assert 'class="js"' not in re.sub(r"<[^>]*class=\"[^\"]*\bjs\b[^\"]*\"[^>]*>", "", bare)
    assert bare.count("data-box") >= 8
    assert 'class="zb"' not in bare
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:|//|file:)""", text)
    assert "<script>document.title" not in text
