"""`sweeplaw serve`: its address, a port that is taken, an extra that is not installed, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.pages.serve import _not_given_up
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from tests.conftest import make_record
from tests.orchestrator.schemas.test_answers import faults


@pytest.mark.heavy
def test_a_port_in_use_is_one_message(store: Store) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError) as error:
            CliRunner().invoke(app, ["serve", store.location.uri, "--port", str(port)], catch_exceptions=False)
    assert str(error.value) == f"--port {port} is in use (accepted: another port, or 0 for any free one)"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["uvicorn", "starlette"])
def test_without_the_extra_the_command_says_how_to_install_it(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [one for one in sys.modules if one.startswith("sweeplaw.orchestrator.live.")]:
        monkeypatch.delitem(sys.modules, loaded)
    for part in [one for one in sys.modules if one.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, part)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf'{name}, which is not installed: pip install "sweeplaw\[serve\]"'):
        CliRunner().invoke(app, ["serve", store.location.uri], catch_exceptions=False)


@pytest.mark.heavy
@pytest.mark.parametrize("json_too", [False, True])
def test_the_server_is_for_this_machine_and_steps_back_for_a_launch(
    store: Store, json_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    seen: dict[str, Any] = {}

    class Server:
        should_exit = False

        def __init__(self, settings: Any) -> None:
            seen["settings"] = settings

        def run(self, sockets: list[socket.socket]) -> None:
            seen["address"] = sockets[0].getsockname()

    monkeypatch.setattr(uvicorn, "Server", Server)
    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.serve.os.nice", lambda steps: seen.update(nice=steps))
    words = ["serve", store.location.uri, *["--json"] * json_too]
    printed = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    host, port = seen["address"]
    assert (host, seen["nice"]) == ("127.0.0.1", 10)
    if json_too:
        told = json.loads(printed)
        assert told == {
            "url": f"http://127.0.0.1:{port}/{told['token']}/", "host": "127.0.0.1", "port": port,
            "token": told["token"], "store": store.location.uri,
        }  # fmt: skip
        assert faults("serve", told) == []
    else:
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/[\w-]{{43,}}/\nCtrl-C ends it\.\n", printed)
    settings = seen["settings"]
    assert (settings.log_level, settings.access_log, settings.lifespan, settings.ws) == ("error", False, "off", "none")
    assert (settings.server_header, settings.timeout_graceful_shutdown) == (False, 5)


def test_requests_given_up_at_the_end_are_no_news_and_other_errors_are() -> None:
    def record(error: BaseException | None) -> logging.LogRecord:
        told = None if error is None else (type(error), error, None)
        return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI application", (), told)

    assert [_not_given_up(record(error)) for error in (asyncio.CancelledError(), ValueError(), None)] == [
        False,
        True,
        True,
    ]


@pytest.mark.process
def test_the_address_is_served_to_this_machine_until_an_interrupt(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    with store.writer("one") as writer:
        writer.write([make_record(seed) for seed in range(4)])
    command = [sys.executable, "-m", "sweeplaw", "serve", store.location.uri, "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        text = ""
        while not text.endswith("}\n") and (line := server.stdout.readline()):
            text += line
        told = json.loads(text)
        assert told["url"] == f"http://127.0.0.1:{told['port']}/{told['token']}/"
        assert len(told["token"]) >= 43
        events = urllib.request.urlopen(f"{told['url']}events", timeout=60)  # a connection that stays open
        with urllib.request.urlopen(told["url"], timeout=60) as answer:
            assert b"Trials" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{told['port']}/", timeout=60)
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=60)
        events.close()
        assert server.returncode == 130
        assert "Traceback" not in errors
    finally:
        server.kill()
        server.wait(timeout=60)
