"""What a plan narrows: against refits of simulated tables by another optimizer, and what must hold of any design."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
from scipy.optimize import least_squares

from sweeplaw import analysis
from sweeplaw.analysis.next_runs.law_plans import LEAST_GAIN, MOST_EXPENSIVE, default_target, law_plans, standard_error
from sweeplaw.trials.errors import InputError

E, A, B, ALPHA, BETA = 1.7, 400.0, 1500.0, 0.34, 0.37
SIZES, DATA = np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)
NOISE = 0.002
POINTS = np.array(list(itertools.product(SIZES, DATA)))
TARGET = (1e10, 2e11)

pytestmark = pytest.mark.heavy


def loss(points: np.ndarray, theta: np.ndarray) -> np.ndarray:
    e, a, b, alpha, beta = theta
    return np.asarray(np.exp(e) + np.exp(a - alpha * np.log(points[:, 0])) + np.exp(b - beta * np.log(points[:, 1])))


TRUTH = np.array([math.log(E), math.log(A), math.log(B), ALPHA, BETA])


def fitted(seed: int = 0) -> analysis.Fit:
    rng = np.random.default_rng(seed)
    noisy = loss(POINTS, TRUTH) * np.exp(NOISE * rng.standard_normal(len(POINTS)))
    rows = pl.DataFrame({"N": POINTS[:, 0], "D": POINTS[:, 1], "loss": noisy})
    return analysis.fit(rows, "additive", x={"N": "N", "D": "D"}, y="loss", all_rows=True)


@pytest.fixture(scope="module")
def fit() -> analysis.Fit:
    return fitted()


def spread(points: np.ndarray, seed: int) -> float:
    """Return the standard deviation of log loss at the target over refits of simulated tables, by SciPy."""
    rng, at = np.random.default_rng(seed), np.array([TARGET])
    clean, found = np.log(loss(points, TRUTH)), []
    for _ in range(150):
        noisy = clean + NOISE * rng.standard_normal(len(points))
        done = least_squares(lambda theta, y=noisy: np.log(loss(points, theta)) - y, TRUTH)
        found.append(float(np.log(loss(at, done.x))[0]))
    return float(np.std(found, ddof=1))


def test_the_standard_error_and_what_two_runs_narrow_agree_with_refits(fit: analysis.Fit) -> None:
    residual = float(np.sqrt(np.sum(np.log(fit.observations.losses / fit.fitted) ** 2) / (len(POINTS) - 5)))
    ours = standard_error(fit, TARGET) * NOISE / residual  # for the planted noise, not that of this one table
    assert ours == pytest.approx(spread(POINTS, 1), rel=0.15)  # 150 refits tell a deviation within 6 %
    added = [(4e9, 2e10), (3e8, 3e11)]
    narrowed = standard_error(fit, TARGET, added) * NOISE / residual
    assert narrowed == pytest.approx(spread(np.vstack([POINTS, added]), 2), rel=0.15)
    assert narrowed < 0.8 * ours


def test_running_everything_again_divides_the_error_by_the_root_of_two(fit: analysis.Fit) -> None:
    again = [(float(n), float(d)) for n, d in POINTS]
    assert standard_error(fit, TARGET, again) == pytest.approx(standard_error(fit, TARGET) / math.sqrt(2), rel=1e-4)


def test_plans_are_ranked_by_gain_for_their_price_and_none_is_too_expensive(fit: analysis.Fit) -> None:
    plans = law_plans(fit)
    assert len(plans) > 5
    gains = [plan.narrower_per_flop for plan in plans]
    assert gains == sorted(gains, reverse=True)
    before, most_expensive = standard_error(fit, default_target(fit)), MOST_EXPENSIVE * 6 * 1e9 * 1e11
    for plan in plans:
        assert plan.trials == len(plan.points)
        assert plan.flops == pytest.approx(sum(6 * n * d for n, d in plan.points))
        assert max(6 * n * d for n, d in plan.points) <= most_expensive
        assert plan.narrower == pytest.approx(1 - standard_error(fit, default_target(fit), plan.points) / before)
        assert plan.narrower is not None
        assert plan.narrower >= LEAST_GAIN


def test_the_target_is_the_best_run_of_ten_times_the_largest_compute(fit: analysis.Fit) -> None:
    n, d = default_target(fit)
    assert 6 * n * d == pytest.approx(10 * 6 * 1e9 * 1e11, rel=1e-6)
    closed = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (n * d) ** (BETA / (ALPHA + BETA))
    assert n == pytest.approx(closed, rel=0.3)  # Hoffmann et al. 2022, eq. 4, by the planted and not the fitted values
    far, near = (law_plans(fit, (scale, 20 * scale))[0] for scale in (1e11, 2e8))
    assert far.title != near.title or far.narrower != near.narrower
    with pytest.raises(InputError, match="D of the target"):
        law_plans(fit, (1e9, -1.0))


def test_a_law_of_one_input_has_no_target() -> None:
    rows = pl.DataFrame({"N": SIZES, "loss": 1.7 + 400 / SIZES**0.34})
    one = analysis.fit(rows, "power_asymptote", x={"x": "N"}, y="loss", all_rows=True)
    with pytest.raises(InputError, match="no law of N and D"):
        default_target(one)


def test_plans_beyond_the_sizes_are_at_data_that_ran_and_the_other_way_round(fit: analysis.Fit) -> None:
    beyond = [plan for plan in law_plans(fit, TARGET) if "its term by itself" in plan.why]
    assert {plan.title.split(" = ")[0] for plan in beyond} == {"N", "D"}
    for plan in beyond:
        ((n, d),) = plan.points
        ran, other = (DATA, d) if plan.title.startswith("N") else (SIZES, n)
        assert any(other == pytest.approx(ran[place], rel=1e-9) for place in (0, len(ran) // 2, -1))
        moved, of = (n, SIZES) if plan.title.startswith("N") else (d, DATA)
        assert moved > of[-1] or moved < of[0]
