"""Verdicts on laws of knobs: where each of their rules turns, and what is said then."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweeplaw.analysis.hyperlaws.knob_law import Estimate, _exp_estimate, widened
from sweeplaw.analysis.hyperlaws.verdicts.own_optima import OwnOptima
from sweeplaw.analysis.hyperlaws.verdicts.verdict import HyperVerdict, _law, _why_open
from sweeplaw.analysis.tables.display import finite


def own(cells: int, known: int, away: float = 0.01, freedom: int = 20) -> OwnOptima:
    """Return optima at 0 with variance ``away`` squared, of one knob whose loss has the curvature 2."""
    optima = np.where(np.arange(cells) < known, 0.0, np.nan)[:, None]
    return OwnOptima(optima, np.full((cells, 1, 1), away**2), np.array([[2.0]]), freedom)


def test_a_law_is_judged_from_half_of_the_cells_and_three_and_by_a_degree_of_freedom() -> None:
    few = "{} of {} cells have an optimum of their own to hold it against"
    for cells, known, terms, judged in ((6, 3, 2, True), (7, 3, 2, False), (4, 2, 1, False), (6, 3, 3, False)):
        verdict, reason = _law(own(cells, known), np.zeros((cells, 1)), terms)
        assert verdict == ("adequate" if judged else "cannot be judged")
        assert judged or reason == few.format(known, cells)
    assert _law(None, np.zeros((1, 1)), 1) == (
        "cannot be judged",
        "0 of 1 cell have an optimum of their own to hold it against",
    )


def test_a_law_is_inadequate_where_its_optima_cost_a_thousandth_more_than_noise_and_too_much_for_chance() -> None:
    """Each cell is off by d: the loss is d^2 (curvature 2, halved), noise costs sd^2 4 / 5 for a term of five."""
    for off, verdict in ((0.033, "inadequate"), (0.0328, "adequate")):
        found, reason = _law(own(5, 5), np.full((5, 1), off), 1)
        assert found == verdict
        said = (
            f"at the optima of the law the cells lose {1000 * off**2:.2g} per mille of loss, 0.08 would be noise alone"
        )
        assert (1000 * off**2 - 0.08 > 1) == (verdict == "inadequate")
        assert stats.f.sf(off**2 / 1e-4 * 5 / 4, 4, 20) < 0.01
        assert reason == said + ", and a misfit of up to 1 per mille does not matter" * (verdict == "adequate")
    loud = own(5, 5, away=0.05)
    assert _law(loud, np.zeros((5, 1)), 1)[0] == "cannot be judged"  # noise alone would be 2 per mille
    assert "in which a misfit that matters could hide" in _law(loud, np.zeros((5, 1)), 1)[1]
    rare = own(5, 5, away=0.03, freedom=2)
    by_chance, reason = _law(rare, np.full((5, 1), 0.05), 1)
    assert by_chance == "adequate"  # so far off in more than one of a hundred
    assert reason.endswith("would be noise alone, and chance explains the rest")
    assert _law(rare, np.full((5, 1), 0.001), 1)[1].endswith("would be noise alone")


@pytest.mark.parametrize(
    ("low", "high", "tolerance", "identified"),
    [
        (0.01, 0.5, None, True), (-0.5, -0.01, None, True), (-0.1, 0.5, None, False), (0.0, 0.5, None, False),
        (-0.1, 0.05, 10**0.1, True), (-0.1, 0.05, 10**0.0999, False), (-0.05, 0.1, 10**0.0999, False),
    ],
)  # fmt: skip
def test_an_exponent_is_identified_by_its_sign_or_because_it_hardly_moves_the_knob(low, high, tolerance, identified):
    said = _why_open(Estimate(0.02, low, high), tolerance)
    why = f"its exponent is 0.020, 95 % [{low:.3f}, {high:.3f}], and a flat law fits as well"
    assert said == ("" if identified else why)


def test_without_resamples_no_exponent_is_identified() -> None:
    assert _why_open(Estimate(0.5, None, None), 2.0) == "without resamples there is no interval"


def test_one_more_knob_brings_its_own_open_exponents_and_the_worse_verdict() -> None:
    first = HyperVerdict("", "adequate", "fine", {("lr", "N"): "open"}, {"lr": "an edge"})
    second = HyperVerdict("no minimum", "cannot be judged", "few", {("wd", "N"): "open too", ("lr", "D"): "not its"},
                          {"wd": "its edge", "lr": "not its"})  # fmt: skip
    both = first.with_knob(second, "wd")
    assert both == HyperVerdict(
        "wd: no minimum", "cannot be judged", "few", {("lr", "N"): "open", ("wd", "N"): "open too"},
        {"lr": "an edge", "wd": "its edge"},
    )  # fmt: skip
    worse = HyperVerdict("at an edge", "inadequate", "off", {})
    assert worse.with_knob(second, "wd").not_found == "at an edge"
    assert worse.with_knob(second, "wd").reason == "off"
    assert (first.objection, worse.objection) == ("", "at an edge")
    assert HyperVerdict("", "inadequate", "off", {}).objection == "off"
    assert list(second.lines()) == [
        "; ".join(second.badges),
        "no minimum",
        "law cannot be judged: few",
        "open too",
        "not its",
    ]


def test_draws_are_widened_by_students_t_over_the_normal() -> None:
    draws, center = np.array([[1.0], [3.0]]), np.array([2.0])
    factor = stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975)
    assert widened(draws, center, 4).ravel().tolist() == pytest.approx([2 - factor, 2 + factor])
    assert widened(draws, center, 0) == pytest.approx(widened(draws, center, 1))
    assert math.isclose(stats.t.ppf(0.975, 1), 12.706, rel_tol=1e-4)


def test_exponentials_that_no_float_holds_have_no_ends_and_warn_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    found = _exp_estimate(np.linspace(800, 1000, 100), 900.0)
    assert found.value == math.inf
    assert finite(found.ends) == [None, None]
    assert not recwarn.list
