"""The live page in a real browser: whole at every width, light and dark, and without errors under its policy."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

import uvicorn

from sweeplaw.orchestrator.live.app import LiveStore, application
from sweeplaw.orchestrator.live.trial_table import Asked
from tests.analysis.report.test_browser import CHROMIUM, WIDTHS, looked_at
from tests.orchestrator.live.stores import partly_run

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

DEAF = "<script>window.EventSource = class { addEventListener() {} close() {} };</script>"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveStore:
    """Two thirds of a sweep of 12 cells, with figures."""
    store = partly_run(tmp_path_factory.mktemp("browser") / "s", 0.7)
    made = LiveStore(store.location.uri)
    made.page(Asked())
    made._figures.wait(240)
    return made


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_whole_at_every_width(live: LiveStore, tmp_path: Path, theme: str) -> None:
    text = live.page(Asked()).replace("<body>", f"<body>{DEAF}")
    seen, messages = looked_at(text, tmp_path, theme)
    assert messages == ""
    assert sorted(map(int, seen)) == sorted(WIDTHS)
    for width, one in seen.items():
        assert one["title"] == "live, live"
        assert one["scroll"] <= 0, f"scrolls sideways at {width}"
        assert one["charts"] >= 6
        assert one["empty"] == 0
        assert one["cut"] == [], f"at {width}"
        assert one["pale"] == []
        assert one["unnamed"] == 0
        assert one["focusable"] == one["figures"] > 4
        assert "loss" in one["tip"]
        assert one["downloads"] > 4
        assert one["fetched"] == []


def test_a_browser_shows_the_served_page_under_its_policy(live: LiveStore, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings = uvicorn.Config(
            application(live, "token", port), log_level="error", lifespan="off", timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(settings)
        live.closing = lambda: server.should_exit
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--timeout=8000",
            "--dump-dom", f"http://127.0.0.1:{port}/token/?where=state+%3D+%27completed%27",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        server.should_exit = True
        thread.join(30)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert re.search(r'<span id="line"[^>]*></span>', done.stdout), "no fault and no lost connection is told"
    assert 'class="has-js"' in done.stdout
    assert "200 trials match" in done.stdout
