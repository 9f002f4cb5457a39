"""A file that cannot be written is one message and exit code 1, and leaves no half of itself behind."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.shared.exits import exit_code
from sweeplaw.orchestrator.cli.shared.output import write_sweep
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.record import TrialRecord

pytestmark = pytest.mark.heavy


@contextlib.contextmanager
def small_files(size: int = 64) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes; the error is that of a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back after the test


@pytest.fixture
def filled(store: Store, record: Callable[..., TrialRecord], tmp_path: Path) -> Path:
    """A folder with a store of two parts, in which every trial failed or completed, and a file to import."""
    for launch in ("one", "two"):
        with Writer(store.location, launch) as writer:
            writer.write([record(seed, launch=launch, attempt=1 + (launch == "two")) for seed in range(20)])
    (tmp_path / "runs.csv").write_text("params,tokens,loss\n1e6,1e7,3.0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("compact store", ".parquet"),
        ("retry store --state completed", ".json"),
        ("report store --out .", "report.html"),
        *((f"export store x.{kind}", f"x.{kind}") for kind in ("csv", "parquet", "arrow", "ndjson")),
        *((f"query store --limit 0 --out x.{kind}", f"x.{kind}") for kind in ("csv", "parquet", "arrow", "json")),
        ("recipes runs.csv --column U=tokens --draws 0 --page x.html", "x.html"),
        ("importance store --knob lr --cell params_non_embedding --figure x.svg", "x.svg"),
        ("import runs.csv store --map N=params --map D=tokens --map val_loss=loss", ""),
        ("import runs.csv new --map N=params --map D=tokens --map val_loss=loss", "store.json"),
    ],
)
def test_a_file_that_cannot_be_written_is_named_and_not_left_in_half(
    filled: Path, command: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(filled)
    monkeypatch.delenv("SWEEPLAW_TRACEBACK", raising=False)
    before = files(filled)
    with small_files():
        code = exit_code(lambda: app(command.split()), f"sweeplaw {command.split()[0]}")
    error = capsys.readouterr().err
    assert code == 1, error
    assert file in error
    assert "File too large" in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    assert not {name for name in files(filled) - before if not name.startswith("store/")}


def test_a_sweep_file_that_cannot_be_written_is_not_left_in_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_files():
        assert exit_code(lambda: write_sweep("# long\n" * 99, tmp_path / "x.toml"), "sweeplaw derive") == 1
    assert capsys.readouterr().err == f"sweeplaw: {tmp_path}/x.toml cannot be written: File too large\n"
    assert not files(tmp_path)
    (tmp_path / "x.toml").write_text("mine")
    assert exit_code(lambda: write_sweep("other", tmp_path / "x.toml"), "sweeplaw derive") == 2
    assert (tmp_path / "x.toml").read_text() == "mine"


def test_a_folder_that_does_not_exist_is_bad_input(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(filled)
    for command in ("export store none/x.csv", "query store --out none/x.parquet"):
        assert exit_code(partial(app, command.split()), "sweeplaw") == 2
        assert capsys.readouterr().err == "sweeplaw: none: No such file or directory\n"
