"""The top of a report says of the forecasts that count how they turned out, and of no other."""

from __future__ import annotations

from typing import Any

from sweeplaw.analysis.report.extrapolation import forecast_sentences

SCORED: dict[str, Any] = {
    "inputs": {"N": 128_000.0, "D": 1_179_648.0},
    "median": 1.5,
    "band": [1.45, 1.55],
    "observed": 1.52,
    "runs": 3,
    "error": 1.5 / 1.52 - 1,
    "inside": {"0.5": False, "0.8": True, "0.95": True},
    "late": False,
    "changed": False,
}
OUTSIDE = {
    **SCORED,
    "observed": 1.4,
    "error": 1.5 / 1.4 - 1,
    "runs": 1,
    "inside": dict.fromkeys(SCORED["inside"], False),
}
WAITING = {**SCORED, "observed": None, "runs": 0, "error": None, "inside": None}


def said(*scored: dict[str, Any]) -> list[str]:
    return forecast_sentences({"scores": {"scored": list(scored)}})


def test_a_forecast_that_held_is_told_with_its_band_and_its_error() -> None:
    assert said(SCORED) == [
        "<strong>A forecast held</strong>: for N=128k, D=1.18M a loss of 1.500 was registered before the run, with a "
        "95 % band from 1.450 to 1.550; 3 runs there ended at 1.520 on average, inside the band, and the forecast was "
        "1.3\u00a0% too low."
    ]


def test_a_forecast_that_failed_says_so() -> None:
    (told,) = said(OUTSIDE)
    assert told.startswith("<strong>A forecast failed</strong>: ")
    assert told.endswith("1 run there ended at 1.400, outside the band, and the forecast was 7.1\u00a0% too high.")


def test_many_forecasts_are_counted() -> None:
    assert said(SCORED, SCORED, OUTSIDE, WAITING) == [
        "<strong>2 of 3 forecasts held</strong>: registered before the run, with bands of 95 %.",
        "1 registered forecast waits for its run.",
    ]


def test_what_does_not_count_is_not_told() -> None:
    assert said({**SCORED, "late": True}, {**SCORED, "changed": True}) == []
    assert forecast_sentences(None) == []
    assert forecast_sentences({"registered": [], "scores": None, "faults": ["a file"]}) == []
