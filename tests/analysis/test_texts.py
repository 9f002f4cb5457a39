"""What results say: their tables, their lines and their JSON, of made-up numbers, against `texts.txt` to the letter.

Where a text is meant to change, `python -m tests.analysis.test_texts` rewrites the file, whose diff is then read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.adequacy.adequacy import Adequacy
from sweeplaw.analysis.adequacy.finding import Finding
from sweeplaw.analysis.fitting.coverage import Coverage
from sweeplaw.analysis.fitting.derived.allocation import Allocation
from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.forecasting.prediction import Prediction
from sweeplaw.analysis.forecasting.registered.record import (
    Assumption,
    ForecastTarget,
    LearntFrom,
    RegisteredForecast,
)
from sweeplaw.analysis.forecasting.registered.runs_behind import RunsBehind
from sweeplaw.analysis.forecasting.registered.scoring import Calibration, Scored, ScoreSheet
from sweeplaw.analysis.forecasting.rollouts import Rollout, TrackRecord
from sweeplaw.analysis.hyperlaws.batch_lr import BatchRule
from sweeplaw.analysis.hyperlaws.knob_law import Estimate
from sweeplaw.analysis.hyperlaws.suggestion.suggestion import Disagreement, SuggestedSetting, Suggestion
from sweeplaw.analysis.recipes.comparison import Effect, RecipeComparison
from sweeplaw.analysis.recipes.rungs import Rung, Rungs
from sweeplaw.analysis.recipes.speedup import SpeedUp
from sweeplaw.analysis.recipes.study.distillation import Retained
from sweeplaw.analysis.recipes.study.picks import Pick, SplitPicks
from sweeplaw.analysis.scaling.approach import Approach, IsoflopBudget
from sweeplaw.analysis.scaling.crossover import Crossing
from sweeplaw.analysis.scaling.validation import HeldOutComparison
from sweeplaw.analysis.tables.display import Shown
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tuning.cell_settings import KnobOptimum
from sweeplaw.analysis.tuning.grid_noise import RunNoise
from sweeplaw.analysis.tuning.importance import Importance
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.analysis.tuning.transfer import Transfer, WorkloadScore
from tests.analysis import laws_of_knobs

TEXTS = Path(__file__).with_name("texts.txt")
DRAWN = Interval(0.25, 0.75, 0.95, "drawn")
SMALL, LARGE = {"N": 1e8}, {"N": 2e8}
SCORES = {"mean_abs_error": 0.0125, "coverage_50": 0.5, "coverage_80": 0.75, "coverage_95": 1.0, "width_95": 0.25,
          "interval_score": 0.375}  # fmt: skip
BANDS = {"0.5": (2.25, 2.75), "0.8": (2.125, 2.875), "0.95": (2.0, 3.0)}
RUNS = pl.DataFrame({"N": [1e8, 2e8], "loss": [2.5, 2.25]}).lazy()

RESULTS: dict[str, Shown] = {
    **laws_of_knobs.RESULTS,
    "adequacy": Adequacy(
        True, "verified", "inadequate",
        (Finding("lack_of_fit", "failed", "a pattern", {"p_value": 0.001}), Finding("nested", "passed", "no wider")),
        False, ("alpha is open",),
        {"N": [{"from": 1.0, "to": 2.0, "rows": 3, "mean_residual_milli": 1.25},
               {"from": 4.0, "to": 8.0, "rows": 1, "mean_residual_milli": -2.5}],
         "N*D": [{"from": 1.0, "to": 8.0, "rows": 4, "mean_residual_milli": 0.5}]}, 9, 4,
    ),
    "allocation": Allocation(1e21, 2.5e9, 6e10, 24.0, 2.125, {"params": Interval(2e9, 3e9, 0.95, "drawn")}, 12.5),
    "approach": Approach("2", 0.5, 0.25, 2.0, {"a": DRAWN}, (IsoflopBudget(1e18, 5, 1e8, 2.5, 0.25, "", 4, 0.03),),
                         ("one budget",)),
    "batch_rule": BatchRule(Estimate(0.5, 0.25, None), 0.75, 12, 4, "as the root", ((SMALL, 65536.0), (LARGE, None))),
    "cell": CellOptimum(
        SMALL, {"trial_id": "t"}, 2.5,
        (KnobOptimum("lr", 0.1, (0.1, 0.2), "low"), KnobOptimum("wd", 0.5, (0.25, 0.5, 1.0), "", 0.375, 0.25, 0.625)),
        9, 1, 0.03, 7, 2.25, False, "the best lr is the lowest", None, ("wd",),
    ),
    "comparison": RecipeComparison(
        "a", "b", {"lr": ("0.1", "0.2"), "wd": ("0", "1")}, True, 0.9,
        Effect("all", 3, 6, -0.0125, -0.02, -0.005, 0.001, 0.002, 0.003, 0.004, 0),
        (Effect("N = 1e8", 1, 2, 0.5),
         Effect("N = 2e8", 1, 2, 0.25, -0.25, 0.75, 0.5, 0.5, 0.125, 0.375, 9, 7200.0, 3e18),
         Effect("N = 4e8", 1, 2, 0.25, 0.125, 0.75, 0.01, 0.02, 0.125, 0.375, None)),
        SpeedUp(1.25, 1.125, 1.5, 4, "additive", "well"), ("two runs left out",),
    ),
    "comparison without a difference": RecipeComparison(
        "a", "b", {}, False, 0.95, Effect("all", 1, 1, 0.5, 0.25, 0.75, 0.5, 0.5, 0.125, None, 1, 0.0, 0.0), (),
        SpeedUp(None, None, None, 0, "", "two points"), (),
    ),
    "comparison of a source with itself": RecipeComparison(
        "a", "a", {}, True, 0.95, Effect("all", 3, 6, 0.0), (), SpeedUp(None, None, None, 0, "", "the same"),
        ("two runs left out",), same=True,
    ),
    "coverage": Coverage({"E": 0.9375, "A": 0.96}, 0.0125, 0.9, 400, 398, "profile", "gaussian", 0.004),
    "crossing": Crossing("N", 1e8, 1e10, 2e9, 0.75, DRAWN, 0.25, 0.875, 0.625, 3, np.array([1.0]), DRAWN),
    "forecast": Prediction(
        {"N": np.array([1e9, 2e9]), "D": np.array([2e10, 1e7])}, np.array([2.5, 2.25]), np.array([2.25, 2.0]),
        np.array([2.75, 2.5]), 0.9, "run", {"compute": np.array([12.0, 1.0]), "N": np.array([1.0, 0.25])}, ("far",),
    ),
    "held_out": HeldOutComparison("one", "two", 7, (0.125, 0.25), -0.046875, DRAWN, 0.75),
    "importance": Importance(SMALL, 9, 12, 0.25, 2.5, {"wd": 0.25, "lr": 0.5}, {("wd", "lr"): 0.125}, 0.125,
                             {"wd": (0.1, None), "lr": (0.01, 0.0125)}, RunNoise(0.00125, 8, "seeds"), 0.0625, ("wd",)),
    "importance without noise": Importance({}, 9, 9, 0.0, 2.5, {"lr": 1.0}, {}, 0.0, {"lr": (0.01, 0.0)}),
    "picks": SplitPicks(("a", "b"), (Pick({"N": 1}, {"lr": 2}, {"lr": 3}, 3.0, 3.25, 4),
                                     Pick({"N": 2}, {"lr": 2}, {"lr": 2}, 3.0, 3.125, 2))),
    "registered": RegisteredForecast(
        "next", "2026-01-01T00:00:00+00:00", "me", "runs.csv", "additive", {"E": 1.5}, {"N": "N"}, {"N": 1.0}, None,
        LearntFrom(2, ("a", "b"), "c" * 8),
        (ForecastTarget({"N": 1e10}, 2.5, BANDS, (2.375, 2.625), {"compute": 10.0, "N": 1.0}),),
        (Assumption("another law", (0.0125,)), Assumption("fewer runs", (None,))),
        ({"cut": "b", "rows": 4, "ahead": 3, **SCORES}, {"cut": "c", "rows": 5, "ahead": 1, **SCORES}), ("far",),
        "0.1", True, digest="d" * 8,
    ),
    "retained": Retained("s of t", 3.5, 3.25, 3.0, 0.5, DRAWN, "as planted"),
    "rungs": Rungs(
        "N", "additive",
        (Rung(1e8, 4, 0.0125, 0.0025, 5.0, 0.004, ("the best lr is the highest tried",)),
         Rung(2e8, 3, -0.02, 0.0025, -8.0, 0.002), Rung(4e8, 2, 0.03, 0.01, 3.0, 0.04),
         Rung(8e8, 2, 0.001, 0.01, 0.1, 0.9), Rung(1e9, 1, None, None, None, None)), ("few rungs",),
    ),
    "scores": ScoreSheet(
        (Scored("a", SMALL, 2.5, (2.25, 2.75), 2.625, 2, -0.0125, {"0.5": False, "0.8": True, "0.95": True}),
         Scored("a", LARGE, 2.5, (2.25, 2.75)),
         Scored("b", SMALL, 2.5, (2.25, 2.75), 2.0, 1, 0.25, {"0.5": False, "0.8": False, "0.95": False}, True,
                note="two settings"),
         Scored("c", SMALL, 2.5, (2.25, 2.75), 2.0, 1, changed=True)),
        (Calibration("0.5", 1, 0.0, 0.0, 0.975), Calibration("0.95", 1, 1.0, 0.025, 1.0)), ("one note",),
        (RunsBehind("a", 4, "changed", 1, 2), RunsBehind("b", 1, "unknown", None, None)),
    ),
    "suggestion": Suggestion(
        1e9, 2e10,
        {"lr": SuggestedSetting(0.001, 0.0005, 0.002, 1.5, "the runs"),
         "batch": SuggestedSetting(64.0, None, None, None, "a law")},
        {"N": 1.25, "D": -0.5, "U": 0.0},
        (Disagreement("one", "lr", 0.004, 4.0, True, True), Disagreement("two", "lr", 0.004, 4.0, False, True),
         Disagreement("three", "lr", 0.004, 4.0, None, False)), ("few cells",),
    ),
    "tables": Tables(RUNS, RUNS.head(0), {"not completed": 2}, "results/x", ({}, {}), ("a part is damaged",)),
    "track_record": TrackRecord((Rollout("budget 3", 10, 4, SCORES),), ("few budgets",)),
    "track_record of nothing": TrackRecord(()),
    "transfer": Transfer(
        {"lr": 0.1}, ({"lr": 0.1}, {"lr": 0.2}),
        (WorkloadScore(SMALL, "tuning", 4, 2.5, {"lr": 0.1}, 0.0125, (0.0125, 0.0025)),
         WorkloadScore(LARGE, "evaluation", 4, 2.25, {"lr": 0.1}, None, (None, None))),
        {"tuning": (0.0, 1.0)}, 5, {"no loss": 2, "other": 0},
    ),
}  # fmt: skip


def written(result: Shown) -> str:
    """Return everything that a result says."""
    card, plain = result.card(), json.dumps(result.to_dict())
    summary = [] if result.summary() == card.text() else ["summary:", result.summary()]
    return "\n".join([card.text(), *summary, "repr:", repr(result), "JSON:", plain])


def expected() -> dict[str, str]:
    parts = re.split(r"^== (.*) ==\n", TEXTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.strip("\n") for text in parts[2::2]), strict=True))


@pytest.mark.parametrize("name", RESULTS)
def test_the_card_the_lines_and_the_json_of_a_result(name: str) -> None:
    assert written(RESULTS[name]) == expected()[name]


def test_each_text_is_that_of_a_result() -> None:
    assert expected().keys() == RESULTS.keys()


if __name__ == "__main__":
    TEXTS.write_text("\n".join(f"== {name} ==\n{written(result)}\n" for name, result in RESULTS.items()), "utf-8")
