"""Log-normal times without censoring: the law is a regression, whose numbers are known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sweeplaw.analysis.event_times.intervals import threshold
from sweeplaw.analysis.event_times.observations import EventTimes
from sweeplaw.analysis.event_times.summary import summary
from sweeplaw.analysis.event_times.time_law import TimeEstimate, TimeLaw, fit_time_law
from sweeplaw.analysis.fitting.uncertainty import Interval

X = np.array([0.5, 1.0, 2.0, 3.0, 5.0, 8.0])
TIMES = np.array([40.0, 95.0, 130.0, 300.0, 420.0, 1100.0])
DATA = EventTimes(TIMES, np.ones(6, bool), X[:, None], ("x",), ("a note",))


def test_every_number_of_the_law_is_that_of_the_regression() -> None:
    law = fit_time_law(DATA, level=0.9, at=[{"x": 4.0}])
    line = stats.linregress(np.log(X), np.log(TIMES))
    left = np.log(TIMES) - line.intercept - line.slope * np.log(X)
    t, middle = stats.t.ppf(0.95, 4), np.log(X).mean()
    assert law.exponents is not None
    assert law.scale is not None
    assert law.factor is not None
    assert law.sigma is not None
    assert law.log_likelihoods is not None
    assert (law.status, law.residuals, law.rows, law.events, law.level) == ("verified", "log-normal", 6, 6, 0.9)
    assert (law.notes, law.least_share, law.longest) == (("a note",), None, None)
    assert law.reference == {"x": pytest.approx(math.exp(middle))}
    found = law.exponents["x"]
    assert found.value == pytest.approx(line.slope, rel=1e-6)
    ends = [line.slope - t * line.stderr, line.slope + t * line.stderr]
    assert [found.interval.low, found.interval.high] == pytest.approx(ends, rel=1e-5)
    assert (found.interval.level, found.interval.method) == (0.9, "profile likelihood")
    assert law.factor.value == pytest.approx(math.exp(line.intercept), rel=1e-6)
    ends = [math.exp(line.intercept + sign * t * line.intercept_stderr) for sign in (-1, 1)]
    assert [law.factor.interval.low, law.factor.interval.high] == pytest.approx(ends, rel=1e-5)
    assert law.scale.value == pytest.approx(math.exp(line.intercept + line.slope * middle), rel=1e-6)
    assert law.sigma.value == pytest.approx(math.sqrt(np.mean(left**2)), rel=1e-6)
    assert law.log_likelihoods["log-normal"] == pytest.approx(
        float(np.sum(stats.lognorm.logpdf(TIMES, law.sigma.value, scale=TIMES / np.exp(left)))), rel=1e-6
    )
    ((point, there),) = law.predictions
    assert point == {"x": 4.0}
    assert there.value == pytest.approx(math.exp(line.intercept) * 4**line.slope, rel=1e-6)
    for end in (law.sigma.interval.low, law.sigma.interval.high):  # the fall of the likelihood in sigma alone
        ratio = law.sigma.value / end
        assert 12 * (-math.log(ratio) + (ratio**2 - 1) / 2) == pytest.approx(stats.chi2.ppf(0.9, 1), rel=1e-4)
    shown = law.to_dict()
    assert shown["scale"] == {"value": law.scale.value, "interval": law.scale.interval.values()}
    assert (shown["notes"], shown["reference"], shown["decrement"]) == (["a note"], law.reference, law.decrement)
    assert shown["predictions"] == [{"at": {"x": 4.0}, **there.to_dict()}]


@pytest.mark.parametrize("rows", [6, 4])
def test_the_test_of_curvature_is_the_f_test_of_the_square(rows: int) -> None:
    data = replace(DATA, times=TIMES[:rows], event=np.ones(rows, bool), inputs=X[:rows, None])
    logs = np.log(X[:rows])
    sums = [np.polyfit(logs, np.log(TIMES[:rows]), degree, full=True)[1][0] for degree in (1, 2)]
    ratio = (sums[0] - sums[1]) / (sums[1] / (rows - 3))
    assert fit_time_law(data).curvature_p == pytest.approx(float(stats.f.sf(ratio, 1, rows - 3)), rel=1e-4)


def test_three_times_leave_no_freedom_to_a_square_and_two_none_to_an_interval() -> None:
    data = replace(DATA, times=TIMES[:3], event=np.ones(3, bool), inputs=X[:3, None])
    assert fit_time_law(data).curvature_p is None
    assert (threshold(2, 2, 0.95), threshold(3, 2, 0.95)) == (math.inf, 3 * math.log1p(stats.t.ppf(0.975, 1) ** 2))


def estimate(value: float) -> TimeEstimate:
    return TimeEstimate(value, Interval(value / 2, 2 * value, 0.9, "profile likelihood"))


def test_the_summary_is_as_written() -> None:
    law = TimeLaw(
        "verified", "log-normal", 9, 7, {"a": 0.5, "b": 20.0}, 0.9, estimate(300.0), estimate(3.0),
        {"a": estimate(-1.0), "b": estimate(2.0)}, estimate(0.25), {"log-normal": -50.0, "weibull": -47.5}, 0.0, 0.01,
        predictions=(({"a": 1.0, "b": 2.0}, estimate(12.5)),), notes=("1 row left out",),
    )  # fmt: skip
    lines = [
        "step: 9 trials, 7 with the event, 2 censored",
        "t* = 300 (a/0.5)^-1.000 (b/20)^2.000, the median time",
        "  exponent of a = -1 [-0.5, -2]",
        "  exponent of b = 2 [1, 4]",
        "  t* at the reference = 300 [150, 600]",
        "  sigma of log t = 0.25 [0.125, 0.5]",
        "  t* at a=1, b=2 = 12.5 [6.25, 25]",
        "log-normal residuals; 90 % intervals from the profile likelihood",
        "powers alone, against squares of logarithms: p = 0.01, not rejected",
        "weibull residuals are likelier (by 2.5 in log-likelihood)",
        "1 row left out",
    ]
    assert summary(law, "step").replace("\N{NO-BREAK SPACE}", " ").splitlines() == lines
    other = replace(law, status="not converged", curvature_p=0.009, log_likelihoods={"log-normal": 0, "weibull": 2})
    said = summary(other, "step")
    assert "(b/20)^2.000 [not converged], the median time" in said
    assert "p = 0.009, rejected: the law is curved" in said
    assert "likelier" not in said
