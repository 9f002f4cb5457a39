"""Tables with cells that are no numbers: every command that reads a loss says which row, and none has a traceback."""

from __future__ import annotations

import math
from itertools import product

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from trials.errors import InputError

KNOBS = ["--knob", "lr", "--knob", "batch_tokens"]
COMMANDS = {
    "fit": ["fit", "{file}", "additive", "--x", "N=N", "--x", "D=D", "--y", "val_loss"],
    "hyperlaw": ["hyperlaw", "{file}", *KNOBS],
    "suggest": ["suggest", "--params", "1e8", "--tokens", "1e10", "--store", "{file}"],
    "compare-laws": ["compare-laws", "{file}", *KNOBS],
    "batch-lr": ["batch-lr", "{file}"],
    "importance": ["importance", "{file}", *KNOBS],
    "transfer": ["transfer", "{file}", "--workload", "N,D", *KNOBS],
    "query": ["query", "{file}", "--best-per", "N,D"],
}


def table(path, last, loss=None):
    """A CSV of a 3 x 3 grid of N and D, 12 settings each, and one more row."""
    lines = ["N,D,lr,batch_tokens,val_loss"]
    for n, d, lr, batch in product((1e6, 1e7, 1e8), (1e8, 1e9, 1e10), (1e-4, 3e-4, 1e-3, 3e-3), (2**15, 2**16, 2**17)):
        bowl = math.log(lr / 1e-3) ** 2 + math.log(batch / 2**16) ** 2
        lines.append(f"{n},{d},{lr},{batch},{loss or 1.8 + 400 / n**0.34 + 900 / d**0.3 + 0.01 * bowl}")
    path.write_text("\n".join([*lines, last]) + "\n")
    return str(path)


def ask(command, file):
    arguments = [part.format(file=file) for part in COMMANDS[command]]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_text_in_the_loss_is_refused_with_its_row(tmp_path, command):
    file = table(tmp_path / "runs.csv", "1e6,1e8,0.001,65536,abc")
    with pytest.raises(InputError, match="'val_loss': row 108 holds 'abc'; numbers are wanted"):
        ask(command, file)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_loss_of_true_and_false_is_refused(tmp_path, command):
    file = table(tmp_path / "runs.csv", "1e6,1e8,0.001,65536,true", loss="true")
    with pytest.raises(InputError, match=r"holds Boolean; numbers are wanted|all 109 losses are equal"):
        ask(command, file)


@pytest.mark.parametrize("command", ["hyperlaw", "compare-laws", "batch-lr"])
def test_text_in_a_knob_is_refused_with_its_row(tmp_path, command):
    file = table(tmp_path / "runs.csv", "1e6,1e8,fast,65536,3")
    with pytest.raises(InputError, match="'lr': row 108 holds 'fast'; numbers are wanted"):
        ask(command, file)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_number_infinity_and_gaps_leave_the_answer_of_the_other_rows(tmp_path, command):
    odd = "1e6,1e8,0.001,65536,nan\n1e6,1e8,0.001,65536,inf\n1e6,1e8,0.001,65536,"
    whole = ask(command, table(tmp_path / "whole.csv", "1e8,1e10,0.01,131072,5"))
    holed = ask(command, table(tmp_path / "holed.csv", f"1e8,1e10,0.01,131072,5\n{odd}"))
    assert holed.exit_code == whole.exit_code == 0
    numbers = [line for line in whole.stdout.splitlines() if not line.startswith("note") and "row" not in line]
    assert set(numbers) <= set(holed.stdout.splitlines())
