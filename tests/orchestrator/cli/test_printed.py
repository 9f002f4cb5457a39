"""What commands print of the golden tables and the golden store, against `printed.txt` to the letter.

`tests/test_golden.py` holds what they answer with --json; here are the lines for a person. Digits that a processor's
order of addition could move are not among them: the tables have few rows, and numbers have three or four digits.

Where a text is meant to change, `python -m tests.orchestrator.cli.test_printed` rewrites the file, whose diff is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from tests.golden.make import INPUTS, STORE

TEXTS = Path(__file__).with_name("printed.txt")
TUNED = "tuned.csv --cell N,D --knob lr --knob batch_tokens"
PRINTED = (
    "transfer tuned.csv --workload N,D --knob lr --knob batch_tokens --count 2",
    "suggest --law step-law --params 7B --tokens 1.4T",
    "rungs runs.csv --y loss",
    "compare runs.csv --by seed --y loss",
    f"compare-laws {TUNED}",
    "status golden",
    "diff golden golden",
    'query golden "SELECT state, count(*) AS trials FROM trials GROUP BY state ORDER BY state"',
    'query golden "SELECT N, D, val_loss FROM best ORDER BY N, D" --best-per N,D --csv',
    "query golden --columns state,attempt,val_loss --where \"state = 'completed'\" --limit 2 --csv",
    "retry golden --state diverged",
    "show golden 01c6bccf298af8efdcfb",
    "logs golden 01c6bccf298af8efdcfb",
    "columns golden",
    "compact golden --now",
    "exclude golden --where \"state = 'failed'\" --reason broken",
    "export golden trials.csv --columns trial_id --where \"state = 'completed'\"",
    'query golden --where "val_loss < 4" --sort=-val_loss',
    "query golden --latex --columns state,val_loss --limit 2",
    "derive golden --seeds 2",
    "import tuned.csv imported --map N=N --map D=D --map lr=lr --map val_loss=val_loss",
    "import runs.csv imported --map N=N --map D=D --map val_loss=loss --dry-run",
    "batch-lr tuned.csv --cell N,D",
    "importance tuned.csv --cell N,D --knob lr --knob batch_tokens --where N=30000000",
    "best-of tuned.csv --cell N --knob lr --where D=1000000000",
)

pytestmark = pytest.mark.heavy


def fill(folder: Path) -> None:
    """Copy the golden tables and the golden store into a folder."""
    for table in INPUTS.glob("*.csv"):
        shutil.copy(table, folder)
    shutil.copytree(STORE, folder / "golden")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the commands run."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def printed(line: str) -> str:
    """Return what the command prints."""
    done = CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return "\n".join(one.rstrip() for one in done.output.splitlines())


def expected() -> dict[str, str]:
    parts = re.split(r"^\$ sweeplaw (.*)\n", TEXTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.rstrip("\n") for text in parts[2::2]), strict=True))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("line", PRINTED)
def test_what_a_command_prints(line: str) -> None:
    assert printed(line) == expected()[line]


def texts() -> Iterator[str]:
    """Yield each command with what it prints."""
    for line in PRINTED:
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
            fill(Path(place))
            yield f"$ sweeplaw {line}\n{printed(line)}\n"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "120"
    TEXTS.write_text("\n".join(texts()), "utf-8")
