"""Every command that answers from a store names what is damaged there beside its answer, and ends with exit code 3."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from tests.golden.make import INPUTS

COMMANDS = (
    "batch-lr s --cell N,D",
    "best-of s --cell N,D --knob lr --where D=1000000000",
    "columns s",
    "compact s",
    "compare r --by seed",
    "compare-laws s --cell N,D --knob lr",
    "diff s s",
    "exclude s --where lr>1 --reason none",
    "export s out.csv",
    "fit s power --x N=params_non_embedding --where tokens=1000000000",
    "hyperlaw s --cell N,D --knob lr --resamples 20 --where batch_tokens=131072",
    "importance s --knob lr --cell N,D --where N=30000000",
    "query s --limit 1",
    "rungs r",
    "status s",
    "suggest --store s --params 1e9 --tokens 1e10",
    "transfer s --workload N,D --knob lr --count 1 --where batch_tokens=131072",
)
pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stores of tuned and of repeated runs, in which the facts of one launch are damaged."""
    here = tmp_path_factory.mktemp("damaged")
    for name, table, loss in (("s", "tuned.csv", "val_loss"), ("r", "runs.csv", "loss")):
        words = ["import", str(INPUTS / table), str(here / name), "--map", "N=N", "--map", "D=D"]
        assert CliRunner().invoke(app, [*words, "--map", f"val_loss={loss}"]).exit_code == 0
        (here / name / "launches" / "99990101T000000-zz.json").write_text("{")
    return here


@pytest.mark.parametrize("line", COMMANDS)
def test_damage_is_named_beside_the_answer(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, shlex.split(line))
    assert (done.exit_code, bool(done.stdout)) == (3, line.split()[0] != "export"), done.exception
    assert "damaged: launches/99990101T000000-zz.json" in done.stderr
