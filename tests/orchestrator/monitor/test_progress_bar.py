"""The live line of a launch shows every fact, whatever the width of the terminal."""

import io

import pytest
from rich.console import Console

from sweeplaw.orchestrator.monitor import progress_bar
from sweeplaw.orchestrator.monitor.progress_bar import LaunchProgress

LONG = "a-name-of-sixty-four-characters-0123456789-0123456789-0123456789"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", ["small", LONG])
def test_no_fact_is_cut(name, width, monkeypatch):
    drawn_to = io.StringIO()
    console = Console(file=drawn_to, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress_bar, "Console", lambda stderr: console)
    drawn = LaunchProgress()
    drawn._finished, drawn._failures, drawn._best = 999, 3, 2.5
    drawn._work, drawn._total_work = 1.0, 100.0
    drawn._bar.update(drawn._task, description=name, total=123456, completed=999, facts=drawn.facts())
    console.print(*drawn._bar.get_renderables())
    lines = drawn_to.getvalue().splitlines()
    assert "…" not in "".join(lines)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "999/123456" in text
    assert "left · best 2.5000 · 3 not completed" in text
    assert name in "".join(line[: width - 20].split("  ")[0].strip() for line in lines)
