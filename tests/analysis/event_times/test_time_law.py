"""Censored fits recover planted laws with the coverage they state, and say what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.event_times.intervals import deviance, threshold
from sweeplaw.analysis.event_times.likelihood import CensoredTimes, has_maximum, maximize
from sweeplaw.analysis.event_times.observations import EventTimes, event_times
from sweeplaw.analysis.event_times.residuals import RESIDUALS
from sweeplaw.analysis.event_times.summary import summary
from sweeplaw.analysis.event_times.time_law import fit_time_law
from sweeplaw.trials.errors import InputError
from tests.analysis.event_times.planted import EXPONENTS, SIGMA, draw


@pytest.mark.heavy
@pytest.mark.parametrize("name", RESIDUALS)
def test_intervals_of_exponents_hold_the_planted_value_as_often_as_they_say(name: str) -> None:
    """200 sets of 60 trials, four in ten censored; 95 % with a standard error of 1.5 %: 91 to 99 % are accepted.

    A profile interval holds a value where the deviance there is below the threshold, so no ends are sought.
    """
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        data = draw(rng, name)
        logs = np.log(data.inputs)
        times = CensoredTimes(np.log(data.times), data.event, np.column_stack([np.ones(len(logs)), logs]))
        best = maximize(times, RESIDUALS[name])
        limit = threshold(times.events, 3, 0.95)
        held.append(
            [deviance(times, RESIDUALS[name], best, k, EXPONENTS[k - 1]) <= limit for k in (1, 2)] + [best.found]
        )
    shares = np.mean(held, axis=0)
    assert shares[2] == 1.0
    assert ((shares[:2] > 0.91) & (shares[:2] < 0.99)).all(), shares


def test_an_interval_ends_where_the_deviance_reaches_the_threshold() -> None:
    data = draw(np.random.default_rng(1), "weibull")
    law = fit_time_law(data, "weibull")
    assert law.exponents is not None
    logs = np.log(data.inputs)
    times = CensoredTimes(np.log(data.times), data.event, np.column_stack([np.ones(len(logs)), logs]))
    best = maximize(times, RESIDUALS["weibull"])
    interval = law.exponents["b"].interval
    for end in (interval.low, interval.high):
        assert deviance(times, RESIDUALS["weibull"], best, 2, end) == pytest.approx(
            threshold(times.events, 3, 0.95), rel=1e-5
        )


@pytest.mark.parametrize("name", RESIDUALS)
def test_the_maximum_is_that_of_a_general_optimizer(name: str) -> None:
    """Nelder and Mead's simplex on the log-likelihood in (beta, log sigma), written down once more."""
    from scipy import stats
    from scipy.optimize import minimize

    data = draw(np.random.default_rng(3), name)
    logs, y = np.log(data.inputs), np.log(data.times)
    law = {"weibull": stats.gumbel_l, "log-normal": stats.norm}[name]

    def loss(theta: Any) -> float:
        z = (y - theta[0] - logs @ theta[1:3]) / np.exp(theta[3])
        return -float(np.where(data.event, law.logpdf(z) - theta[3], law.logsf(z)).sum())

    start = [*np.linalg.lstsq(np.column_stack([np.ones(len(y)), logs]), y, rcond=None)[0], 0.0]
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 20000, "xatol": 1e-9, "fatol": 1e-11})
    design = np.column_stack([np.ones(len(y)), logs])
    best = maximize(CensoredTimes(y, data.event, design), RESIDUALS[name])
    assert best.value == pytest.approx(-found.fun, abs=1e-7)
    assert [*best.beta, np.log(best.sigma)] == pytest.approx(found.x, abs=1e-4)


def test_leaving_censored_trials_out_is_biased_where_the_censored_fit_is_not() -> None:
    rng, found = np.random.default_rng(4), []
    for _ in range(20):
        data = draw(rng, "log-normal")
        times = CensoredTimes(np.log(data.times), data.event, np.column_stack([np.ones(60), np.log(data.inputs)]))
        seen = CensoredTimes(*(part[data.event] for part in (times.log_times, times.event, times.design)))
        found.append([maximize(one, RESIDUALS["log-normal"]).beta[1] for one in (times, seen)])
    means, errors = np.mean(found, axis=0), np.std(found, axis=0) / 20**0.5
    assert abs(means[0] - EXPONENTS[0]) < 3 * errors[0]
    assert abs(means[1] - EXPONENTS[0]) > 5 * errors[1]


def test_without_an_event_a_bound_is_said() -> None:
    """With n trials without the event the exact binomial bound is 0.05^(1/n): at 59, the rule of three, 95 %."""
    data = EventTimes(np.full(59, 100.0), np.zeros(59, bool), np.ones((59, 1)), ("a",))
    law = fit_time_law(data)
    assert (law.status, law.scale, law.exponents, law.longest) == ("no events", None, None, 100.0)
    assert law.least_share == pytest.approx(0.9505, abs=1e-4)
    said = summary(law, "grok_step")
    assert "no event, so no law; the longest time without one is 100" in said
    assert "at 95 % confidence at least 95.05 % of such trials do not have it" in said


@pytest.mark.parametrize(
    ("times", "event", "known"),
    [
        ([1.0, 2.0, 4.0, 8.0], [1, 1, 1, 1], False),  # on a line: sigma goes to zero
        ([1.0, 2.0, 4.1, 8.0], [1, 1, 1, 1], True),
        ([1.0, 2.1, 4.0, 8.0], [1, 1, 0, 0], False),  # the line through two events is above both bounds
        ([9.0, 2.0, 1.0, 8.0], [1, 1, 0, 0], True),  # it is below them: the spread cannot go to zero
        ([1.0, 2.1, 4.0, 9.0], [1, 1, 1, 0], True),
        ([1.0, 2.0, 4.0, 9.0], [1, 1, 1, 0], True),  # three events on a line below the bound
        ([1.0, 2.0, 4.0, 7.0], [1, 1, 1, 0], False),  # and above it
    ],
)
def test_whether_the_likelihood_has_a_maximum_is_decided(times, event, known):
    """At x = 1, 2, 4, 8."""
    x = np.log([1.0, 2.0, 4.0, 8.0])
    problem = CensoredTimes(np.log(times), np.array(event, bool), np.column_stack([np.ones(4), x]))
    assert has_maximum(problem) is known


def test_a_law_that_is_not_determined_is_not_given() -> None:
    data = EventTimes(
        np.array([1.0, 2.1, 4.0, 8.0]), np.array([1, 1, 0, 0], bool), np.array([[1.0], [2], [4], [8]]), ("a",)
    )
    law = fit_time_law(data)
    assert (law.status, law.exponents) == ("not determined", None)
    assert "likelihood has no maximum" in summary(law, "t")


@pytest.mark.heavy
def test_a_curved_law_is_rejected_and_a_straight_one_is_not() -> None:
    rng = np.random.default_rng(5)
    data = draw(rng, "log-normal")
    straight = fit_time_law(data)
    bent = EventTimes(data.times * np.exp(0.5 * np.log(data.inputs[:, 0]) ** 2), data.event, data.inputs, data.names)
    curved = fit_time_law(bent)
    assert straight.curvature_p is not None
    assert curved.curvature_p is not None
    assert straight.curvature_p > 0.01
    assert curved.curvature_p < 1e-6
    assert "rejected: the law is curved" in summary(curved, "t")


@pytest.mark.heavy
def test_the_summary_names_every_number() -> None:
    law = fit_time_law(draw(np.random.default_rng(6), "log-normal"), at=[{"a": 1.0, "b": 2.0}])
    said = summary(law, "grok_step")
    assert law.exponents is not None
    assert law.sigma is not None
    assert f"exponent of a = {law.exponents['a'].value:.4g} [" in said
    assert "t* at a=1, b=2 = " in said
    assert "t* at a=1, b=2 is an extrapolation: b ran from 0.3 to 0.6" in said
    inside = fit_time_law(draw(np.random.default_rng(6), "log-normal"), at=[{"a": 4.0, "b": 0.3}])
    assert "extrapolation" not in summary(inside, "grok_step")
    assert law.sigma.interval.low < SIGMA < law.sigma.interval.high


@pytest.mark.heavy
@pytest.mark.filterwarnings("error")
def test_a_time_beyond_a_double_is_infinite() -> None:
    data = EventTimes(np.array([1e100, 1e70, 1e50]), np.ones(3, bool), np.array([[0.1], [0.2], [0.4]]), ("a",))
    ((_, found),) = fit_time_law(data, at=[{"a": 1e-200}]).predictions
    assert found.value == np.inf


def frame(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"x": [0.5, 1.0, 2.0], "t": [10, None, None], "c": [None, 40, None], **columns}, strict=False)


def test_rows_are_events_censored_or_left_out() -> None:
    found = event_times(frame(), "t", "c", ["x"])
    assert (found.times.tolist(), found.event.tolist()) == ([10.0, 40.0], [True, False])
    assert found.notes == ("1 row left out: neither t nor c",)
    found = event_times(frame(x=[0.0, 1.0, 2.0]), "t", "c", ["x"])
    assert found.times.tolist() == [40.0]
    assert "1 row left out: null or not positive in x" in found.notes


@pytest.mark.parametrize(
    ("columns", "inputs", "said"),
    [
        ({"c": [20, 40, None]}, ["x"], "1 row with both t and c"),
        ({"t": [-1, None, None], "c": [20, 40, None]}, ["x"], "(?s)1 row with both .* must be positive .*seen: -1"),
        ({"x": ["a", "b", "c"]}, ["x"], "column 'x' is String .accepted: numbers"),
        ({}, [], "no input is given"),
        ({}, ["x", "x"], "--x x is given twice"),
        ({"t": [0, None, None]}, ["x"], "the time must be positive and finite .seen: 0.0"),
        ({"t": [None, None, None], "c": [None, None, None]}, ["x"], "no row has a time"),
    ],
)
def test_what_cannot_be_times_is_refused(columns, inputs, said):
    with pytest.raises(InputError, match=said):
        event_times(frame(**columns), "t", "c", inputs)


@pytest.mark.parametrize(
    ("inputs", "options", "said"),
    [
        ([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]], {}, "a = 1 in all 3 rows"),
        ([[1.0, 1.0], [2.0, 4.0], [3.0, 9.0]], {}, "a, b are tied to each other"),
        ([[1.0, 1.0], [2.0, 1.0], [3.0, 9.0]], {"residuals": "normal"}, "residuals = 'normal' is not known"),
        ([[1.0, 1.0], [2.0, 1.0], [3.0, 9.0]], {"level": 1.0}, "level = 1.0"),
        ([[1.0, 1.0], [2.0, 1.0], [3.0, 9.0]], {"at": [{"a": 1.0}]}, "at a .accepted: a value of each of a, b"),
        ([[1.0, 1.0], [2.0, 1.0], [3.0, 9.0]], {"at": [{"a": 1.0, "b": 0.0}]}, "b = 0 .accepted: a positive number"),
    ],
)
def test_what_cannot_be_fitted_is_refused(inputs, options, said):
    data = EventTimes(np.array([1.0, 2.0, 3.0]), np.ones(3, bool), np.array(inputs), ("a", "b"))
    with pytest.raises(InputError, match=said):
        fit_time_law(data, **options)
