"""`sweeplaw predict` answers with the forecast of the library, and rejects bad options with exit code 2."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.orchestrator.cli.laws.predict import predict
from sweeplaw.trials.errors import InputError


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(17, 21, 40))
    tokens = size * np.exp(rng.uniform(2, 4, 40))
    losses = (1.69 + 406.4 / size**0.34 + 410.7 / tokens**0.28) * np.exp(0.003 * rng.normal(size=40))
    path = tmp_path_factory.mktemp("predict") / "runs.csv"
    pl.DataFrame({"params": size, "tok": tokens, "l": losses}).write_csv(path)
    return str(path)


COLUMNS: dict[str, Any] = {"x": ["N=params", "D=tok"], "y": "l"}


@pytest.mark.heavy
def test_json_has_the_forecast_of_the_library(runs, capsys) -> None:
    predict(runs, at=["N=7e9,D=140B"], compute=["1e22"], level=0.9, json=True, **COLUMNS)
    answer = json.loads(capsys.readouterr().out)
    found = analysis.forecaster(runs, x={"N": "params", "D": "tok"}, y="l")
    point = {"N": 7e9, "D": 1.4e11}
    law, run = found.predict(point, 0.9), found.predict(point, 0.9, of="run")
    first, best = answer["predictions"]
    assert first["inputs"] == point
    assert first["loss"] == float(law.median[0])
    assert first["law"] == {"low": float(law.low[0]), "high": float(law.high[0])}
    assert first["run"] == {"low": float(run.low[0]), "high": float(run.high[0])}
    assert first["beyond"]["compute"] > 1
    assert 6 * best["inputs"]["N"] * best["inputs"]["D"] == pytest.approx(1e22)
    assert answer["rows"] == 40


@pytest.mark.heavy
def test_text_answers_in_a_line_a_run(runs, capsys) -> None:
    predict(runs, at=["N=7e9,D=1.4e11", "N=2e8,D=4e9"], **COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert "N = 7B, D = 140B: loss " in lines[2]
    assert "beyond the runs: " in lines[2]
    assert lines[3].endswith("inside the range of the runs")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--at N=7e9"),
        ({"at": ["N=big,D=1"]}, "--at N: 'big' is not a number"),
        ({"at": ["N=1e9"]}, "D missing"),
        ({"compute": ["much"]}, "--compute: 'much'"),
        ({"compute": ["-1"]}, "positive"),
    ],
)
def test_bad_options_are_named(runs, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict(runs, **options, **COLUMNS)
