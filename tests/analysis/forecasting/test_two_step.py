"""Loss to accuracy: a planted sigmoid is found, and its band carries the errors of both steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.forecasting.forecaster import forecaster
from sweeplaw.analysis.forecasting.two_step import metric_forecast
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy  # a forecaster each

BIG = {"N": 1e10, "D": 2e11}


def loss(n: Any, d: Any) -> Any:
    return 1.7 + 400 / n**0.34 + 410 / d**0.28


def accuracy(value: Any) -> Any:
    return 0.25 + 0.75 / (1 + np.exp(3 * (value - 2.6)))


def table(noise: float = 0.003, scatter: float = 0.01, draw: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(draw)
    compute = np.repeat(6e17 * 4.0 ** np.arange(6), 5)
    n = np.sqrt(compute / 120) * np.tile([0.4, 0.7, 1.0, 1.4, 2.5], 6)
    d = compute / 6 / n
    true = loss(n, d)
    measured = accuracy(true) + scatter * rng.normal(size=30)
    return pl.DataFrame({"N": n, "D": d, "loss": true * np.exp(noise * rng.normal(size=30)), "acc": measured})


def found(frame: pl.DataFrame) -> Any:
    return forecaster(frame, x={"N": "N", "D": "D"}, y="loss", all_rows=True)


def test_a_planted_accuracy_lies_in_its_band():
    answer = metric_forecast(found(table()), "acc", BIG, chance=0.25)
    true = accuracy(loss(BIG["N"], BIG["D"]))
    assert answer.low[0] < true < answer.high[0]
    assert answer.median[0] == pytest.approx(true, abs=0.03)
    assert answer.sigmoid.params["k"] == pytest.approx(3, rel=0.15)
    assert answer.sigmoid.params["L0"] == pytest.approx(2.6, rel=0.03)
    assert answer.run[0][0] < answer.low[0] < answer.high[0] < answer.run[1][0]
    assert answer.beyond[0]


def test_a_sigmoid_has_verdicts_and_a_wrong_chance_fails_them():
    runs = found(table(scatter=0.003))
    right, wrong = (metric_forecast(runs, "acc", BIG, chance=chance) for chance in (0.25, 0.0))
    badges = {"optimum found", "law adequate", "parameters identified"}
    assert set(right.to_dict()["verdict"]["badges"]) == badges
    assert right.to_dict()["sigmoid"]["c"] == pytest.approx(0.25)
    assert right.to_dict()["sigmoid"]["t"] == pytest.approx(1.0)
    assert "law inadequate" in wrong.verdicts()[0]
    assert "no sigmoid from 0 (chance) to 1 (ceiling) describes acc" in wrong.verdicts()[1]
    assert all(line in wrong.headline() for line in wrong.verdicts())


def test_the_error_of_each_step_is_told_apart():
    """Noise in the loss widens the first step, scatter of the accuracy the second."""
    plain = metric_forecast(found(table()), "acc", BIG, chance=0.25)
    scattered = metric_forecast(found(table(scatter=0.04)), "acc", BIG, chance=0.25)
    assert scattered.second[0] > 2 * plain.second[0]
    assert scattered.first[0] == pytest.approx(plain.first[0], rel=0.4)
    width = plain.high[0] - plain.low[0]
    assert max(plain.first[0], plain.second[0]) < width * 1.05 < (plain.first[0] + plain.second[0]) * 1.1


def test_bands_hold_over_many_tables():
    held = []
    for draw in range(8):
        answer = metric_forecast(found(table(draw=draw)), "acc", BIG, chance=0.25)
        held.append(answer.low[0] < accuracy(loss(BIG["N"], BIG["D"])) < answer.high[0])
    assert sum(held) >= 6  # of 8: fewer has a chance of 1 in 2,000 at 95 %


def test_runs_without_the_metric_are_left_out_and_told():
    frame = table().with_columns(acc=pl.when(pl.int_range(pl.len()) < 12).then(None).otherwise("acc"))
    answer = metric_forecast(found(frame), "acc", BIG, chance=0.25)
    assert "12 runs without acc left out" in answer.warnings
    assert "acc 0." in answer.summary()
    assert answer.to_dict()["points"][0]["beyond_the_runs"] is True


def test_bad_metrics_are_refused():
    learnt = found(table())
    with pytest.raises(InputError, match="no column 'accuracy'"):
        metric_forecast(learnt, "accuracy", BIG)
    with pytest.raises(InputError, match="chance below ceiling"):
        metric_forecast(learnt, "acc", BIG, chance=1.0)
    with pytest.raises(InputError, match=r"far outside 0 to 0\.1"):
        metric_forecast(learnt, "acc", BIG, ceiling=0.1)
    few = table().with_columns(acc=pl.when(pl.int_range(pl.len()) < 3).then("acc"))
    with pytest.raises(InputError, match="3 runs with acc"):
        metric_forecast(found(few), "acc", BIG)
