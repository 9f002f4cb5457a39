"""Losses and sizes that no run has: every command answers or says what is wrong, without a warning or a traceback."""

from __future__ import annotations

import csv
import itertools
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy

Row = dict[str, float | str]
AXES = "--x N=N --x D=D --y loss"
COMMANDS = {
    "fit": f"fit FILE additive {AXES} --pool",
    "fit in raw space": f"fit FILE additive {AXES} --pool --space raw --holdout largest",
    "hyperlaw": "hyperlaw FILE --cell N,D --knob lr --y loss --resamples 10",
    "importance": "importance FILE --cell N,D --knob lr --knob batch_tokens --y loss",
    "best-of": "best-of FILE --cell N,D --knob lr --knob batch_tokens --y loss",
    "transfer": "transfer FILE --workload N,D,recipe --knob lr --y loss",
    "compare": "compare FILE --by recipe --y loss",
    "compare-laws": "compare-laws FILE --cell N,D --knob lr --knob batch_tokens --y loss",
    "predict": f"predict FILE {AXES} --at N=1e9,D=1e11 --where \"recipe='a'\"",
    "suggest": "suggest --store FILE --params 2e8 --tokens 2e10 --y loss",
    "recipes": "recipes FILE --column U=D --limit a=N --limit b=N",
    "rungs": f"rungs FILE --axis N {AXES} --where \"recipe='a'\"",
    "time-law": "time-law FILE --time loss --censored none --let none=nullif(lr,lr) --x N --x lr",
}
TIMES_TWICE = "time-law FILE --time loss --censored loss --x N"
LOSSES: dict[str, Callable[[float, int], float]] = {
    "all 1e300": lambda loss, at: 1e300,
    "about 1e300": lambda loss, at: 1e300 * loss,
    "about 1e-300": lambda loss, at: 1e-300 * loss,
    "constant": lambda loss, at: 3.0,
    "negative": lambda loss, at: -loss,
    "mixed": lambda loss, at: [loss, math.inf, math.nan, -1.0, 0.0, 1e300, 1e-300][at % 7],
    "one of eleven huge": lambda loss, at: loss if at % 11 else 1e300,
}


def table(change: Callable[[float, int], float], scale: float = 1.0) -> list[Row]:
    sizes, budgets, rates = (1e7, 3e7, 1e8, 3e8), (1e9, 3e9, 1e10), (1e-3, 3e-3, 1e-2, 3e-2)
    rows: list[Row] = []
    for n, d, lr, batch, recipe in itertools.product(sizes, budgets, rates, (1e5, 2e5, 4e5), "ab"):
        knobs = 0.02 * (math.log(lr) + 5) ** 2 + 0.05 * math.log(batch / 2e5) ** 2 + 0.1 * (recipe == "b")
        loss = 1.7 + 400 / n**0.34 + 410 / d**0.28 + knobs + 0.001 * (len(rows) * 7919 % 13 - 6)
        chosen = change(loss, len(rows))
        rows.append({"N": n * scale, "D": d * scale, "lr": lr, "batch_tokens": batch, "recipe": recipe, "loss": chosen})
    return rows


def answer(command: str, rows: list[Row], folder: Path) -> tuple[int, str]:
    """Return the exit code and what was printed as JSON, or the reason of a refusal, whose code is 2."""
    with open(folder / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    words = shlex.split(command.replace("FILE", str(folder / "runs.csv")))
    done = CliRunner().invoke(app, [*words, "--json"])
    if isinstance(done.exception, InputError):
        return 2, str(done.exception)
    assert done.exception is None, done.output
    return done.exit_code, done.stdout


def strict(text: str) -> object:
    """Return the JSON value; NaN and infinity are none."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_or_refuses_whatever_the_losses_are(command: str, losses: str, tmp_path: Path) -> None:
    code, text = answer(COMMANDS[command], table(LOSSES[losses]), tmp_path)
    assert text
    if code != 2:
        strict(text)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_command_answers_or_refuses_one_row_or_two(command: str, count: int, tmp_path: Path) -> None:
    assert answer(COMMANDS[command], table(lambda loss, at: loss)[:count], tmp_path)[1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("scale", [1e290, 1e-290])
def test_a_command_answers_or_refuses_sizes_beyond_all_models(command: str, scale: float, tmp_path: Path) -> None:
    assert answer(COMMANDS[command], table(lambda loss, at: loss, scale), tmp_path)[1]


@pytest.mark.parametrize("command", ["importance", "best-of", "hyperlaw", "transfer", "recipes", "compare", "report"])
def test_losses_of_1e300_are_said_to_be_too_large_and_counted(command: str, tmp_path: Path) -> None:
    rows = table(LOSSES["one of eleven huge"])
    page = f"report FILE {AXES} --out {tmp_path / 'page'}"
    text = answer({**COMMANDS, "report": page}[command], rows, tmp_path)[1]
    left_out = sum(row["loss"] == 1e300 for row in rows)
    said = text if command != "report" else (tmp_path / "page" / "report.html").read_text()
    assert f"{left_out} values of loss left out: too large or too small to calculate with" in said
    assert "finite loss" not in text.replace("no finite loss (diverged, failed or out of range)", "")


def test_the_column_of_times_is_not_the_one_of_censoring(tmp_path: Path) -> None:
    code, text = answer(TIMES_TWICE, table(lambda loss, at: loss), tmp_path)
    assert code == 2
    assert "--censored loss is the column of the times too" in text


def test_a_best_value_without_a_number_beyond_is_said_and_no_crash(tmp_path: Path) -> None:
    rows = [
        f"{n},{d},{lr},{1.7 + 400 / n**0.34 + 410 / d**0.28 + 0.1 * k}"
        for n, d in itertools.product((1e7, 1e8, 1e9), (1e9, 1e10))
        for k, lr in enumerate((1e308, 1e150, 1.0))
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["N,D,lr,loss", *rows]))
    done = CliRunner().invoke(app, shlex.split(f"next {tmp_path / 'runs.csv'} {AXES}"))
    assert done.exit_code == 0, done.exception
    last = done.stdout.splitlines()[-1]
    assert last == "note: lr = 1e+308 is the best tried in 6 cells, and no finite value lies beyond to try"
