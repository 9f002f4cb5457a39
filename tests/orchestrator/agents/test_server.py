"""`sweeplaw mcp` as an agent meets it: the official client over stdio, and the answers that the commands give."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

import sweeplaw as sl
from sweeplaw.orchestrator.agents import command as command_module
from sweeplaw.orchestrator.cli.programs.mcp import mcp
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.trials.errors import InputError

pytestmark = [pytest.mark.process, pytest.mark.heavy]

SWEEP = """
name = "planted"
workload = "surrogate"
scientific = { params = { log = [1e7, 1e9], num = 4 }, tokens = { log = [1e9, 1e11], num = 4 } }
nuisance = { lr = { log = [1e-3, 1e-1], num = 5 } }
fixed = { noise = 0.003 }
derived = { batch_sequences = "0.58 * tokens ** 0.571 / 256" }
"""
TOOLS = {"status", "query", "columns", "fit", "suggest", "report"}
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 80 finished trials of a known surface."""
    folder = tmp_path_factory.mktemp("agents") / "store"
    sl.launch(sl.plan(parse(SWEEP)), sl.Store.open(str(folder), create=True), sl.read_profile("inline"))
    return folder


def command(*words: str | Path) -> Any:
    done = subprocess.run([sys.executable, "-m", "sweeplaw", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def talk(store: Path, conversation: Callable[[Client], Awaitable[None]]) -> None:
    """Have a conversation with a server of the store, in a process of its own."""

    async def main() -> None:
        words = ["-m", "sweeplaw", "mcp", str(store)]
        server = StdioServerParameters(command=sys.executable, args=words, env={**os.environ})  # the same threads
        async with Client(server, read_timeout_seconds=200) as client:
            await conversation(client)

    anyio.run(main)


async def asked(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    (content,) = result.content
    assert content.type == "text"
    assert "Traceback" not in content.text
    return content.text


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_help_names_the_tools() -> None:
    told = re.search(r"The tools are (.*?)\.", " ".join((mcp.__doc__ or "").split()))
    assert told is not None
    assert set(re.split(r", | and ", told[1])) == TOOLS


def test_an_agent_gets_the_answers_of_the_commands_and_changes_nothing(store: Path) -> None:
    before = digests(store)
    now = {"rate": None, "seconds_left": None}  # of the last minutes
    sql = "SELECT N, D, val_loss, lr FROM best ORDER BY N, D"

    async def conversation(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == TOOLS
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert all(tool.description for tool in tools)
        assert str(store) in (client.instructions or "")
        rows = (await asked(client, "query", sql=sql))["answer"]
        assert rows == command("query", store, sql, "--json")
        assert len(rows) == 16
        assert (await asked(client, "fit", law="additive", compute=[1e21]))["answer"] == command(
            "fit", store, "--law", "additive", "--compute", "1e21", "--json"
        )
        status = (await asked(client, "status"))["answer"]
        same = command("status", store, "--json")
        assert {**status, **now} == {**same, **now}
        lr = (await asked(client, "suggest", params=2e8, tokens=2e10))["answer"]
        assert lr == command("suggest", "--store", store, "--params", "2e8", "--tokens", "2e10", "--json")
        said = await asked(client, "report")
        (sentences,) = said["answer"].values()
        assert len(sentences) >= 2
        assert re.search(r"N\^0\.3\d+ \+ \S+ / D\^0\.3\d+", sentences[0])  # planted: 0.3478 and 0.3658
        assert not any("<" in sentence and ">" in sentence for sentence in sentences)
        trials = (await asked(client, "report", section="trials"))["answer"]
        assert trials["states"] == {"completed": 80}
        assert {"trials", "families"} <= set(said["sections"])

    talk(store, conversation)
    assert digests(store) == before


def test_what_is_wrong_is_an_error_of_the_tool_and_the_server_goes_on(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nhidden\n")

    async def conversation(client: Client) -> None:
        assert "did you mean" in await refused(client, "query", sql="SELECT val_los FROM trials")
        assert "additive" in await refused(client, "fit", law="aditive")
        assert "accepted: " in await refused(client, "report", section="nonsense")
        assert "limit" in await refused(client, "query", sql="SELECT 1", limit=0)
        assert "greater than 0" in await refused(client, "suggest", params=-1, tokens=1)
        assert "at most 100 items" in await refused(client, "fit", compute=[1e20] * 101)
        for text in ("SELECT 1\0", f"SELECT '{'x' * 200_000}'"):
            assert "at most 100,000 bytes of text, none of which is zero" in await refused(client, "query", sql=text)
        assert "hidden" not in await refused(client, "query", sql=f"SELECT * FROM read_csv('{secret}')")
        await refused(client, "query", sql="--out=stolen.csv")  # which is SQL, and no option
        assert not Path("stolen.csv").exists()
        assert (await asked(client, "query", sql="SELECT COUNT(*) AS n FROM trials"))["answer"] == [{"n": 80}]

    talk(store, conversation)


def test_a_command_that_takes_too_long_is_ended(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "SECONDS", 0.1)
    with pytest.raises(InputError, match=r"status: no answer within 0\.1 seconds"):
        anyio.run(command_module.answered, "status", "--", str(store))


def test_a_store_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sweeplaw", "mcp", str(tmp_path / "none")], capture_output=True, text=True, input=""
    )
    assert done.returncode == 2
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_a_signal_ends_the_server_and_what_it_runs(store: Path, tmp_path: Path, number: int, code: int) -> None:
    words = [sys.executable, "-m", "sweeplaw", "mcp", str(store)]
    about = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    messages: list[dict[str, Any]] = [
        {"id": 0, "method": "initialize", "params": about},
        {"method": "notifications/initialized"},
        {"id": 1, "method": "tools/call", "params": {"name": "report", "arguments": {}}},
    ]
    server = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # ignored where the tests run under `nohup`, say
    )  # fmt: skip
    assert server.stdin is not None
    server.stdin.writelines(json.dumps({"jsonrpc": "2.0", **one}) + "\n" for one in messages)
    server.stdin.flush()
    end = time.monotonic() + 100
    while not (running := children(server.pid)) and time.monotonic() < end:
        time.sleep(0.02)
    assert running
    server.send_signal(number)
    try:
        assert server.wait(60) == code  # although stdin is open
    finally:
        server.kill()
        _, errors = server.communicate()
    assert errors == ""
    assert list(tmp_path.iterdir()) == []
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def children(pid: int) -> list[int]:
    """Return the processes that this one has started and that run."""
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid="], capture_output=True, text=True, check=True).stdout
    pairs = (map(int, line.split()) for line in listed.splitlines())
    return [child for parent, child in pairs if parent == pid]
