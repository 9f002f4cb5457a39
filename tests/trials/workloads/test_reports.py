"""Reports are bounded, in time proportional to their number, and what is left out is said."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.user_code import reports
from sweeplaw.trials.workloads.user_code.reports import METRIC_LIMIT, Reports

SPEC = TrialSpec("python:m:f", {"lr": 0.1})


def test_a_trial_keeps_a_limited_number_of_metric_names_and_says_how_many_reports_had_more() -> None:
    report = Reports(SPEC)
    for number in range(METRIC_LIMIT + 5):
        point = report.add({f"metric_{number}": number, "val_loss": number})
    assert point is not None
    assert (point.val_loss, dict(point.metrics)) == (METRIC_LIMIT + 4, {})
    report.finish({"metric_0": 7, "another": 1, "val_loss": 0.5, "tokens": 12})
    outcome = report.outcome("completed")
    kept = set(outcome.metrics) - {"val_loss", "tokens"}
    assert kept == {f"metric_{number}" for number in range(METRIC_LIMIT)}
    assert (outcome.metrics["metric_0"], outcome.metrics["val_loss"], outcome.metrics["tokens"]) == (7, 0.5, 12)
    assert outcome.message == "note: 6 reports with metrics beyond the first 1,000 names, which were left out"


def test_a_curve_has_a_limited_number_of_points_and_the_last_loss_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "POINT_LIMIT", 3)
    report = Reports(SPEC)
    points = [report.add({"val_loss": 9.0 - step}) for step in range(5)]
    assert [point is None for point in points] == [False, False, False, True, True]
    outcome = report.outcome("completed")
    assert outcome.metrics["val_loss"] == 5.0
    assert outcome.message == "note: 2 reports beyond the first 3 are not in the curve"


@pytest.mark.heavy
def test_twenty_thousand_metrics_take_time_in_proportion() -> None:
    began = time.process_time()
    together, apart = Reports(SPEC), Reports(SPEC)
    for _ in range(5):
        together.add({f"m{number}": number for number in range(20_000)})
    for number in range(20_000):
        apart.add({f"m{number}": number})
    assert time.process_time() - began < 10  # 342 s when it was quadratic


def test_a_negative_step_is_refused_and_a_falling_one_is_noted() -> None:
    report = Reports(SPEC)
    with pytest.raises(ValueError, match="step = -1 is negative"):
        report.add({"step": -1})
    assert [report.add({"step": step, "val_loss": 1.0}).step for step in (5, 2)] == [5, 2]  # type: ignore[union-attr]
    assert report.outcome("failed", "why").message == "why\nnote: 1 report with a step below an earlier one"


def test_a_long_text_is_cut_and_that_is_noted() -> None:
    report = Reports(SPEC)
    report.finish({"val_loss": 1, "note": "x" * 50_000})
    outcome = report.outcome("completed")
    assert len(str(outcome.metrics["note"])) == reports.TEXT_LIMIT
    assert outcome.message == "note: 1 report with a text cut at 10,000 characters"


@pytest.mark.parametrize("name", ["val_loss", "train_loss", "step", "tokens", "params"])
def test_a_boolean_is_no_loss_and_no_count(name: str) -> None:
    report = Reports(SPEC)
    for call in (report.add, report.finish):
        with pytest.raises(TypeError, match=f"reported {name} = True is not a number"):
            call({name: np.True_})
    report.finish({"val_loss": 1.0, "converged": True})
    assert report.outcome("completed").metrics == {"val_loss": 1.0, "converged": True}


@pytest.mark.parametrize("name", ["step", "tokens"])
def test_a_count_beyond_the_64_bits_of_its_column_is_refused(name: str) -> None:
    largest = int(np.nextafter(2.0**63, 0))
    report = Reports(SPEC)
    for call in (report.add, report.finish):
        call({name: largest, "val_loss": 1.0})
        with pytest.raises(ValueError, match=f"reported {name} = 9.22.*e\\+18 is not a whole number"):
            call({name: 2**63})
    outcome = report.outcome("completed")
    assert {"step": outcome.last_step, "tokens": outcome.metrics.get("tokens")}[name] == largest


def test_an_array_of_several_values_is_refused_with_its_name() -> None:
    report = Reports(SPEC)
    for call in (report.add, report.finish):
        with pytest.raises(TypeError, match=r"reported val_loss = array\(\[1., 2.\]\) is not a single value"):
            call({"val_loss": np.array([1.0, 2.0])})
    point = report.add({"val_loss": np.array([[1.5]])})
    assert point is not None
    assert point.val_loss == 1.5
