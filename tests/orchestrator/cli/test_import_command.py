"""The import command: its options that exclude each other, its messages, and JSON for any alphabet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.shared.output import emit_json
from sweeplaw.trials.errors import InputError

ROWS = "run,params_m,tokens,loss\na,1,2e9,3.5\nb,2,4e9,3.25\n"
MAP = ("--map", "N=params_m*1e6", "--map", "D=tokens", "--map", "val_loss=loss", "--run", "run")


def imported(folder: Path, *options: str) -> dict[str, Any]:
    """Return what the command answers."""
    words = ["import", str(folder / "runs.csv"), str(folder / "store"), *MAP, *options, "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.heavy
def test_runs_are_imported_updated_and_removed_but_not_both_at_once(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(ROWS)
    imported(tmp_path)
    (tmp_path / "runs.csv").write_text(ROWS.replace("3.25", "3.125"))
    imported(tmp_path, "--update")
    with pytest.raises(InputError, match="give only one of --update and --remove"):
        imported(tmp_path, "--update", "--remove")


@pytest.mark.heavy
def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(ROWS)
    assert imported(tmp_path, "--dry-run")["added"] == 2
    assert not (tmp_path / "store").exists()
    imported(tmp_path)
    (tmp_path / "runs.csv").write_text(ROWS.replace("3.25", "3.125") + "c,3,8e9,3\n")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    assert imported(tmp_path, "--update", "--dry-run")["added"] == 1
    assert imported(tmp_path, "--remove", "--dry-run")["removed"] == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before


@pytest.mark.heavy
def test_a_file_with_a_column_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(InputError, match=r"twice\.parquet: column 'a' occurs twice"):
        CliRunner().invoke(app, ["import", str(path), str(tmp_path / "store")], catch_exceptions=False)


def test_json_has_the_letters_of_any_alphabet(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"name": "größe"})
    assert capsys.readouterr().out == '{\n  "name": "größe"\n}\n'
