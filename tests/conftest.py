"""Fixtures: records, stores, a process that forks writers, and a bucket."""

from __future__ import annotations

import ast
import datetime as dt
import importlib.metadata
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from tests.paths import ROOT

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def pytest_configure(config: pytest.Config) -> None:
    """Ignore that Ray 2.52 kills its processes without waiting for them; heed signals that a shell's `&` ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # which the processes of tests would inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if importlib.metadata.version("ray").startswith("2.52."):
        config.addinivalue_line("filterwarnings", "ignore:subprocess .* is still running:ResourceWarning")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, before its imports, a file of which ``-m "not ..."`` deselects every test by its `pytestmark`."""
    terms = config.getoption("markexpr").split(" and ")
    if collection_path.suffix != ".py" or not all(term.startswith("not ") and term.count(" ") == 1 for term in terms):
        return None
    content = collection_path.read_text(encoding="utf-8")
    if "\npytestmark = " not in content:
        return None
    (marks,) = (
        statement.value
        for statement in ast.parse(content).body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark"
    )
    names = {node.attr for node in ast.walk(marks) if isinstance(node, ast.Attribute)}
    return True if any(f"not {name}" in terms for name in names) else None


# Of a test with this mark, in the order in which they are looked for: only the order of files depends on them.
SECONDS = {"slow": 15.0, "slurm": 5.0, "ray": 5.0, "kill": 3.0, "process": 2.0, "heavy": 1.0}
PURE_SECONDS = 0.03


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker of xdist, which gets whole files, put those that take longest first: the last ones end together."""
    if hasattr(config, "workerinput"):
        items[:] = longest_file_first(items)


def longest_file_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests by file, those first whose marks let expect the longest time; in a file the order stays."""
    expected: dict[Path, float] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        seconds = next((seconds for name, seconds in SECONDS.items() if name in marks), PURE_SECONDS)
        expected[item.path] = expected.get(item.path, 0.0) + seconds
    return sorted(items, key=lambda item: (-expected[item.path], item.path))


def make_record(
    seed: int,
    *,
    attempt: int = 1,
    state: Any = "completed",
    loss: float | None = 2.0,
    launch: str = "one",
    **knobs: Any,
) -> TrialRecord:
    spec = TrialSpec("surrogate", {"lr": 0.1 * (1 + seed % 3), "seed": seed, **knobs})
    ended = EPOCH + dt.timedelta(seconds=seed + 1000 * attempt)
    outcome = Outcome(spec.trial_id, state, None, 10, EPOCH, ended, 1.5, {"val_loss": loss, "surprise": 1.0})
    cost = Cost(params_non_embedding=100 * (1 + seed % 4), tokens=1000 * (1 + seed % 5), flops=1e9)
    return TrialRecord(spec, cost, outcome, "a sweep", attempt, "pack", launch, Provenance("host", "cpu", "{}", None))


def make_points(record: TrialRecord, steps: int = 3) -> list[CurvePoint]:
    return [
        CurvePoint(record.spec.trial_id, step, 100 * step, 3.0 / step, attempt=record.attempt)
        for step in range(1, steps + 1)
    ]


@pytest.fixture
def write_rounds() -> Callable[..., set[tuple[int, int]]]:
    """A function that writes rounds of (seed, attempt), compacts after every other one and returns what it wrote."""

    def write(store: Store, rounds: list[list[tuple[int, int]]]) -> set[tuple[int, int]]:
        written: set[tuple[int, int]] = set()
        for number, rows in enumerate(rounds):
            fresh = [row for row in dict.fromkeys(rows) if row not in written]
            written.update(fresh)
            with Writer(store.location, f"launch{number}") as writer:
                writer.write([make_record(seed, attempt=attempt) for seed, attempt in fresh])
            if number % 2:
                compact(store.location, grace=dt.timedelta(0), target_rows=5)
        return written

    return write


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    """A function that returns the record of a seed."""
    return make_record


@pytest.fixture
def points() -> Callable[..., list[CurvePoint]]:
    """A function that returns curve points of a record."""
    return make_points


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def zygote() -> Iterator[subprocess.Popen[str]]:
    """A process that forks writers, alive until the end of the test."""
    script = Path(__file__).with_name("zygote.py")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{script.parent}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process
    process.stdin.close()
    process.wait(timeout=20)
    process.stdout.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of a running moto server."""
    pytest.importorskip("moto", reason="moto[server] emulates S3")
    pytest.importorskip("obstore", reason="claims on an object store need obstore")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/moto-api/", timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URI of a new bucket; the environment variables give access to it."""
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{random.Random(request.node.name).randrange(10**9)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=10).close()
    return f"s3://{name}/sweeps/demo"
