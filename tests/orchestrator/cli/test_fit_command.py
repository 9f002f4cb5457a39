"""`sweeplaw fit` returns in JSON the fit of the library, and rejects bad options with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.display.fit_summary import summarise
from sweeplaw.orchestrator.cli import main
from sweeplaw.orchestrator.cli.laws.fit_text import show
from sweeplaw.orchestrator.cli.shared import exits

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-m", "sweeplaw"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the command by an exception: it would end the process without waiting for threads."""
    monkeypatch.setattr(exits, "exit_process", sys.exit)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    size, tokens = np.exp(rng.uniform(16, 22, 60)), np.exp(rng.uniform(20, 25, 60))
    losses = 1.69 + 406.4 / size**0.34 + 410.7 / tokens**0.28 + 0.005 * rng.normal(size=60)
    losses[4] = np.nan
    path = tmp_path_factory.mktemp("fit") / "runs.csv"
    pl.DataFrame({"params": size, "tok": tokens, "l": losses, "kind": ["a"] * 59 + ["b"]}).write_csv(path)
    return str(path)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "fit", *arguments], capture_output=True, text=True, timeout=200)


def test_json_has_the_fit_of_the_library(runs) -> None:
    options = ["--x", "N=params", "--x", "D=tok", "--y", "l", "--unit", "N=1e6", "--where", "kind = 'a'"]
    more = [
        "--objective",
        "huber:0.01",
        "--space",
        "log",
        "--reduction",
        "sum",
        "--bootstrap",
        "200",
        "--holdout",
        "largest",
    ]
    done = call(runs, "--law", "additive", *options, *more, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    fit = analysis.fit(
        runs, "additive", "huber:0.01", {"N": "params", "D": "tok"}, "l", space="log", reduction="sum",
        units={"N": 1e6}, where="kind = 'a'", bootstrap=200,
    )  # fmt: skip
    assert answer["params"] == pytest.approx(fit.params)
    objective = {"name": "huber", "delta": 0.01, "space": "log", "reduction": "sum", "value": pytest.approx(fit.value)}
    assert {name: answer["objective"][name] for name in objective} == objective
    assert (answer["rows_used"], answer["rows_dropped"]) == (58, 1)
    assert answer["verified"] is True
    assert answer["starts_agreeing"] >= 2
    assert answer["status"].startswith("verified")
    assert answer["law"] == "additive"
    for name, interval in answer["intervals"].items():
        assert interval["low"] < answer["params"][name] < interval["high"]
    assert answer["derived"]["compute_optimal"][0]["intervals"]["params"]["low"] > 0
    assert answer["holdout"]["mean_relative_error"] < 0.02


def test_text_has_the_status_and_the_rows_left_out(runs, monkeypatch, capsys) -> None:
    options = ["E + A / N^a + B / D^b", "--x", "N=params", "--x", "D=tok", "--y", "l"]
    monkeypatch.setattr(sys, "argv", ["sweeplaw", "fit", runs, *options])
    with pytest.raises(SystemExit) as end:
        main()
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert "status: verified" in shown
    assert "59 used (every row: no knob differs at a point), 1 left out" in shown
    assert "l) missing or NaN, row 5" in shown


def test_every_number_of_a_fit_that_is_not_verified_is_marked(runs, capsys) -> None:
    answer = summarise(analysis.fit(runs, "additive", x={"N": "params", "D": "tok"}, y="l"))
    show(answer)
    assert "?" not in capsys.readouterr().out
    show({**answer, "verified": False})
    lines = capsys.readouterr().out.splitlines()
    names = ("E ", "A ", "alpha ", "B ", "beta ", "C = ", "  ")
    for name in names:
        assert all(" ?" in line for line in lines if line.startswith(name)), name
    assert sum(" ?" in line for line in lines) == 5 + 1 + 3  # parameters, the exponent, three allocations


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--law", "aditive"], "did you mean 'additive'"),
        (["additive", "--law", "power"], "give the law once: 'additive' and --law 'power' conflict"),
        (["additive", "--law", "additive"], "which column is N?"),
        (["--x", "N=params", "--x", "N=tok"], "gives N twice"),
        (["--unit", "N=many"], "'many' is not a number"),
        (["--bound", "E=1"], "accepted: NAME=LOW:HIGH"),
        (["--x", "N=params", "--x", "D=tok", "--y", "l", "--holdout", "biggest"], "accepted: largest"),
        ([], "which column is N?"),
    ],
)
def test_bad_options_exit_with_code_2_and_a_message(runs, arguments, message, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["sweeplaw", "fit", runs, *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_advice_is_withheld_with_the_reason_and_printed_marked_by_force(tmp_path, monkeypatch, capsys) -> None:
    rng, size = np.random.default_rng(0), np.repeat([1e8, 1.001e8, 1.003e8], 8)
    tokens = np.tile(np.geomspace(1e9, 1e11, 8), 3)
    losses = (1.69 + 406.4 / size**0.34 + 410.7 / tokens**0.28) * np.exp(0.003 * rng.normal(size=24))
    pl.DataFrame({"N": size, "D": tokens, "loss": losses}).write_csv(tmp_path / "narrow.csv")
    command = ["sweeplaw", "fit", str(tmp_path / "narrow.csv"), "--x", "N=N", "--x", "D=D", "--y", "loss"]
    for more, expected, absent in (
        ([], "no allocation of compute: ", "train"),
        (["--force"], "not advised: for", "no allocation"),
    ):
        monkeypatch.setattr(sys, "argv", [*command, *more])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr().out
        assert end.value.code == 0
        assert expected in shown
        assert absent not in shown
        assert "N spans only a factor 1.003" in shown
