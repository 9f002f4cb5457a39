"""The fits agree with those of R's survreg, as its own tests record them, and with closed forms.

Source: the survival package of R (Therneau), tests/testreg.Rout.save; its linear predictor in x is our power of e^x.
"""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.event_times.likelihood import CensoredTimes, maximize
from sweeplaw.analysis.event_times.observations import EventTimes
from sweeplaw.analysis.event_times.residuals import RESIDUALS
from sweeplaw.analysis.event_times.time_law import TimeLaw, fit_time_law

# The data set `ovarian`: days, death, age, ECOG performance status.
OVARIAN = """
59 1 72.3315 1, 115 1 74.4932 1, 156 1 66.4658 2, 421 0 53.3644 1, 431 1 50.3397 1, 448 0 56.4301 2, 464 1 56.9370 2,
475 1 59.8548 2, 477 0 64.1753 1, 563 1 55.1781 2, 638 1 56.7562 2, 744 0 50.1096 1, 769 0 59.6301 2, 770 0 57.0521 1,
803 0 39.2712 1, 855 0 43.1233 2, 1040 0 38.8932 2, 1106 0 44.6000 1, 1129 0 53.9068 1, 1206 0 44.2055 1,
1227 0 59.5890 2, 268 1 74.5041 2, 329 1 43.1370 1, 353 1 63.2192 2, 365 1 64.4247 1, 377 0 58.3096 1
"""


def six() -> EventTimes:
    """The data set `test1` of that file, without its missing row."""
    times, event, x = [9, 1, 1, 6, 6, 8], [1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0]
    return EventTimes(np.array(times, float), np.array(event, bool), np.exp(np.array(x, float))[:, None], ("x",))


def intercept(law: TimeLaw) -> float:
    assert law.factor is not None
    return float(np.log(law.factor.value))


@pytest.mark.parametrize(
    ("residuals", "at_one", "slope", "sigma", "log_likelihood", "digits"),
    [("weibull", 2.2373335, -0.7442249, 0.4563163, -10.3, 1e-7), ("log-normal", 2.210, -1.268, 0.64, -10.5, 6e-4)],
)
def test_six_rows_by_survreg(residuals, at_one, slope, sigma, log_likelihood, digits):
    law = fit_time_law(six(), residuals)
    assert law.status == "verified"
    assert law.exponents is not None
    assert law.sigma is not None
    assert law.log_likelihoods is not None
    assert intercept(law) == pytest.approx(at_one, abs=digits)
    assert law.exponents["x"].value == pytest.approx(slope, abs=digits)
    assert law.sigma.value == pytest.approx(sigma, abs=max(digits, 1e-7) if digits < 1e-6 else 5e-3)
    assert law.log_likelihoods[residuals] == pytest.approx(log_likelihood, abs=0.05)


def test_the_ovarian_data_by_survreg() -> None:
    rows = np.array([[float(part) for part in row.split()] for row in OVARIAN.split(",")])
    data = EventTimes(rows[:, 0], rows[:, 1] == 1, np.exp(rows[:, 2:]), ("age", "ecog"))
    law = fit_time_law(data, "weibull")
    assert law.exponents is not None
    assert law.sigma is not None
    assert (law.rows, law.events) == (26, 12)
    assert intercept(law) == pytest.approx(12.28496723, abs=1e-6)
    assert law.exponents["age"].value == pytest.approx(-0.09702669, abs=1e-7)
    assert law.exponents["ecog"].value == pytest.approx(0.09977342, abs=1e-7)
    assert law.sigma.value == pytest.approx(0.6032744, abs=1e-7)


def test_standard_errors_are_those_of_survreg() -> None:
    """Of the six rows: 0.330 and 0.486 (Weibull), 0.404 and 0.585 (log-normal)."""
    data = six()
    design = np.column_stack([np.ones(6), np.log(data.inputs)])
    for name, errors in (("weibull", (0.330, 0.486)), ("log-normal", (0.404, 0.585))):
        best = maximize(CensoredTimes(np.log(data.times), data.event, design), RESIDUALS[name])
        assert best.errors == pytest.approx(errors, abs=6e-4)


def planted(rng: np.random.Generator, rows: int = 40) -> EventTimes:
    inputs = np.exp(rng.normal(size=(rows, 2)))
    times = np.exp(3 + np.log(inputs) @ [-0.8, 1.5] + 0.3 * rng.normal(size=rows))
    return EventTimes(times, np.ones(rows, bool), inputs, ("a", "b"))


def test_without_censoring_log_normal_is_least_squares_of_log_times() -> None:
    """Estimates, and the intervals of the textbook: b +- t(n - k) s sqrt((X'X)^-1)."""
    from scipy import stats

    data = planted(np.random.default_rng(0))
    design, y = np.column_stack([np.ones(40), np.log(data.inputs)]), np.log(data.times)
    beta, (rss,), _, _ = np.linalg.lstsq(design, y, rcond=None)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rss / 37)
    law = fit_time_law(data)
    assert law.exponents is not None
    assert law.sigma is not None
    assert law.factor is not None
    assert law.sigma.value == pytest.approx(np.sqrt(rss / 40), rel=1e-8)
    assert intercept(law) == pytest.approx(beta[0], rel=1e-8)
    quantile = stats.t.ppf(0.975, 37)
    found = {"a": law.exponents["a"], "b": law.exponents["b"]}
    for index, one in enumerate(found.values(), 1):
        assert one.value == pytest.approx(beta[index], rel=1e-8)
        assert one.interval.low == pytest.approx(beta[index] - quantile * errors[index], rel=1e-5)
        assert one.interval.high == pytest.approx(beta[index] + quantile * errors[index], rel=1e-5)
    assert law.factor.interval.high == pytest.approx(np.exp(beta[0] + quantile * errors[0]), rel=1e-5)


def test_a_prediction_is_the_least_squares_line_with_its_interval() -> None:
    from scipy import stats

    data = planted(np.random.default_rng(1))
    design, y = np.column_stack([np.ones(40), np.log(data.inputs)]), np.log(data.times)
    beta, (rss,), _, _ = np.linalg.lstsq(design, y, rcond=None)
    row = np.array([1.0, np.log(3.0), np.log(0.2)])
    error = np.sqrt(row @ np.linalg.inv(design.T @ design) @ row * rss / 37)
    ((point, one),) = fit_time_law(data, at=[{"a": 3.0, "b": 0.2}]).predictions
    assert point == {"a": 3.0, "b": 0.2}
    assert np.log(one.value) == pytest.approx(row @ beta, rel=1e-8)
    assert np.log(one.interval.low) == pytest.approx(row @ beta - stats.t.ppf(0.975, 37) * error, rel=1e-5)


def test_weibull_without_censoring_or_inputs_is_scipy_s() -> None:
    from scipy import stats

    sample = stats.weibull_min.rvs(2.5, scale=7.0, size=200, random_state=0)
    shape, _, scale = stats.weibull_min.fit(sample, floc=0)
    times = CensoredTimes(np.log(sample), np.ones(200, bool), np.ones((200, 1)))
    best = maximize(times, RESIDUALS["weibull"])
    assert 1 / best.sigma == pytest.approx(shape, rel=1e-5)
    assert np.exp(best.beta[0]) == pytest.approx(scale, rel=1e-5)
    own = best.value - np.log(sample).sum()
    assert own == pytest.approx(stats.weibull_min.logpdf(sample, shape, 0, scale).sum(), abs=1e-6)


def test_exponential_times_have_the_rate_of_events_by_total_time() -> None:
    """With sigma = 1 the maximum of the Weibull likelihood is total time / events, in closed form."""
    rng = np.random.default_rng(2)
    times, event = rng.exponential(5.0, 50), rng.random(50) < 0.4
    best = maximize(CensoredTimes(np.log(times), event, np.ones((50, 1))), RESIDUALS["weibull"], sigma=1.0)
    assert np.exp(best.beta[0]) == pytest.approx(times.sum() / event.sum(), rel=1e-8)


@pytest.mark.parametrize("name", RESIDUALS)
def test_derivatives_are_those_of_the_functions(name: str) -> None:
    z, step = np.linspace(-6, 4, 41), 1e-5
    for function in (RESIDUALS[name].log_density, RESIDUALS[name].log_survival):
        _, first, second = function(z)
        above, below = function(z + step), function(z - step)
        assert first == pytest.approx((above[0] - below[0]) / (2 * step), rel=1e-6, abs=1e-8)
        assert second == pytest.approx((above[1] - below[1]) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", RESIDUALS)
def test_the_share_before_t_star_and_the_whole_are_right(name: str) -> None:
    from scipy.integrate import quad

    kind = RESIDUALS[name]
    before, _ = quad(lambda z: float(np.exp(kind.log_density(np.array([z]))[0][0])), -40, 0)
    assert before == pytest.approx(kind.share, abs=1e-8)
    assert 1 - np.exp(kind.log_survival(np.zeros(1))[0][0]) == pytest.approx(kind.share, abs=1e-12)
