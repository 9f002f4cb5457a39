"""The shipped sweeps of ridge regression show what their comments say, by the closed form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.trials.workloads.ridge.eigenframework import RidgeProblem, Risk, optimal, risk
from sweeplaw.trials.workloads.ridge.exponents import in_features, in_samples
from sweeplaw.trials.workloads.ridge.spectrum import power_law
from tests.paths import ROOT

pytestmark = pytest.mark.heavy

FOLDER = ROOT / "orchestrator/sweeps"
RANDOM = FOLDER / "random_features"


def settings(path: Path) -> Iterator[dict[str, Any]]:
    """The knobs of each trial of the first seed."""
    for group in plan(read(path)).groups:
        found = [dict(group.spec(index).knobs) for index in range(len(group.ids))]
        yield from (knobs for knobs in found if knobs["seed"] == 0)


def expected(knobs: dict[str, Any]) -> Risk:
    population = power_law(knobs["dimension"], knobs["capacity_exponent"], knobs["source_exponent"])
    problem = RidgeProblem(population, knobs["samples"], knobs["features"], knobs["noise"], knobs["ensemble"])
    return optimal(problem) if knobs["ridge_choice"] == "optimal" else risk(problem, knobs["ridge"])


@pytest.mark.parametrize(("source", "size", "excess"), [(0.35, "samples", 1.1), (0.65, "features", 2.1)])
def test_over_the_sizes_of_the_sweep_the_slope_is_the_exponent_of_theory(
    source: float, size: str, excess: float
) -> None:
    """The closed form alone to a percent, and to 0.3 % with the measured ``excess`` / size of finite sizes."""
    curve = [knobs for knobs in settings(FOLDER / "ridge.toml") if knobs["source_exponent"] == source]
    sizes = np.array([knobs[size] for knobs in curve], dtype=float)
    losses = np.array([expected(knobs).test for knobs in curve])
    exponent = in_samples(3.0, source, noisy=False) if size == "samples" else in_features(3.0, source)
    assert len(curve) == 6
    assert -np.polyfit(np.log(sizes), np.log(losses), 1)[0] == pytest.approx(exponent, rel=0.015)
    corrected = np.log(losses * (1 + excess / sizes))
    assert -np.polyfit(np.log(sizes), corrected, 1)[0] == pytest.approx(exponent, rel=3e-3)


def test_more_features_and_more_samples_are_better() -> None:
    found = {(one["features"], one["samples"]): expected(one).test for one in settings(RANDOM / "more_is_better.toml")}
    for (features, samples), loss in found.items():
        assert found.get((2 * features, samples), 0.0) < loss
        assert found.get((features, 2 * samples), 0.0) < loss


def test_without_a_ridge_the_loss_peaks_where_features_are_as_many_as_samples_and_the_best_ridge_removes_it() -> None:
    found: dict[tuple[str, float], dict[int, float]] = {}
    for one in settings(RANDOM / "double_descent.toml"):
        found.setdefault((one["ridge_choice"], one["ridge"]), {})[one["features"]] = expected(one).test
    bare, weak, best = found["given", 1e-8], found["given", 1e-3], found["optimal", 0.0]
    assert max(bare, key=lambda features: bare[features]) == 128
    assert bare[128] > 100 * best[128]
    assert 1 < max(weak.values()) / weak[16] < bare[128] / bare[16]
    assert [best[features] for features in sorted(best)] == sorted(best.values(), reverse=True)


def test_the_best_ridge_rises_with_samples_and_noise_and_is_inside_the_grid() -> None:
    best: dict[tuple[int, float], float] = {}
    for one in settings(RANDOM / "best_ridge.toml"):
        best[one["samples"], one["noise"]] = expected({**one, "ridge_choice": "optimal"}).ridge
    for (samples, noise), ridge in best.items():
        assert 1e-3 < ridge < 1e2
        assert best.get((2 * samples, noise), np.inf) > ridge
        assert all(best[samples, louder] > ridge for louder in (0.1, 0.3, 1.0) if louder > noise)


def test_one_model_is_better_than_any_ensemble_of_as_many_features() -> None:
    found = {(one["samples"], one["ensemble"]): expected(one).test for one in settings(RANDOM / "ensembles.toml")}
    for samples in (64, 256):
        losses = [found[samples, ensemble] for ensemble in (1, 2, 4, 8, 16)]
        assert losses == sorted(losses)
