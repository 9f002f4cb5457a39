"""The best weight decay and the rule for members, on planted optima."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.recipes.study.decay import (
    BestDecay,
    RuleCheck,
    best_decays,
    decay_slopes,
    member_rule,
    rule_counts,
)
from sweeplaw.analysis.recipes.study.study import recipe_limits
from tests.analysis.recipes.study.planted import known

DECAYS = tuple(0.1 * 2**k for k in range(-4, 12))


def tuned(n_exponent: float = 0.5, u_exponent: float = -0.5) -> pl.DataFrame:
    """Return single models whose best decay is .8 (N / 1e8)^a (U / 1e8)^b, up to the steps of the ladder."""
    rows = []
    for n in (1e8, 4e8, 16e8):
        for u in (1e8, 4e8, 16e8):
            best = 0.8 * (n / 1e8) ** n_exponent * (u / 1e8) ** u_exponent
            rows += [("tuned", n, u, 1, wd, 3 + 0.1 * np.log(wd / best) ** 2) for wd in DECAYS]
    return pl.DataFrame(rows, schema=["recipe", "N", "U", "K", "wd", "loss"], orient="row")


@pytest.mark.heavy
def test_the_best_decay_is_found_with_its_ratio_to_the_default():
    found = best_decays(recipe_limits(tuned(), draws=0))
    assert len(found) == 9
    by_place = {(one.n, one.u): one for one in found}
    assert by_place[1e8, 1e8].decay == pytest.approx(0.8)
    assert by_place[1e8, 1e8].ratio == pytest.approx(8)
    assert by_place[16e8, 1e8].decay == pytest.approx(3.2)
    assert not any(one.edge for one in found)


@pytest.mark.heavy
def test_planted_exponents_of_the_best_decay_are_recovered():
    (one,) = decay_slopes(best_decays(recipe_limits(tuned(), draws=0)))
    assert one.n == pytest.approx(0.5, abs=1e-9)
    assert one.u == pytest.approx(-0.5, abs=1e-9)
    assert one.cells == 9


def test_the_half_width_of_an_exponent_is_that_of_scipys_regression():
    sizes, decays = (1e8, 2e8, 3e8, 8e8, 9e8), (0.8, 1.5, 1.1, 3.0, 2.0)
    (one,) = decay_slopes([BestDecay("r", n, 1e8, decay, 3.0, ()) for n, decay in zip(sizes, decays, strict=True)], 0.9)
    line = stats.linregress(np.log(sizes), np.log(decays))
    assert one.n == pytest.approx(line.slope)
    assert one.n_half == pytest.approx(stats.t.ppf(0.95, 3) * line.stderr)
    assert (one.u, one.u_half) == (None, None)


def test_a_decay_at_an_end_of_those_tried_is_named():
    few = tuned().filter(pl.col("wd") < 0.5)
    study = recipe_limits(few, draws=0)
    assert all(one.edge for one in best_decays(study) if one.n == 16e8)
    assert "at an end of those tried" in study.summary()
    assert best_decays(recipe_limits(tuned().drop("wd").unique(["N", "U"]), draws=0)) == []


SETTINGS = ((8, 0.8), (16, 0.4), (16, 0.8), (32, 0.2))


def members(best: tuple[float, float], settings=SETTINGS, noise: float = 0.0) -> pl.DataFrame:
    """Return ensembles at some settings, of which ``best`` has the lowest limit and (8, .8) the lowest single model."""
    rng, rows = np.random.default_rng(0), []
    for n in (1e8, 2e8, 4e8):
        for epochs, decay in settings:
            limit = 3.0 if (epochs, decay) == best else 3.1
            single = 3.5 if (epochs, decay) == (8, 0.8) else 3.6
            for k in (1, 2, 3, 4, 5):
                loss = limit + (single - limit) / k + noise * rng.standard_normal()
                rows.append(("ensemble", n, 1e8, k, epochs, decay, loss))
    columns = ["recipe", "N", "U", "K", "epochs", "weight_decay", "loss"]
    return pl.DataFrame(rows, schema=columns, orient="row")


@pytest.mark.heavy
def test_the_rule_held_where_its_setting_has_the_lowest_limit():
    checks = member_rule(recipe_limits(members((16, 0.4)), draws=0))
    assert [one.held for one in checks] == [True] * 3
    assert checks[0].single == {"epochs": 8, "weight_decay": 0.8}
    assert checks[0].rule == {"epochs": 16, "weight_decay": 0.4}
    assert checks[0].difference == pytest.approx(-0.1, abs=1e-6)
    assert checks[0].chance is None  # no errors are known


@pytest.mark.heavy
def test_the_rule_did_not_hold_where_another_setting_is_better_and_says_which():
    study = recipe_limits(members((16, 0.8), noise=0.002), draws=200, noise=0.002)
    checks = member_rule(study)
    assert [one.held for one in checks] == [False] * 3
    assert checks[0].best == {"epochs": 16, "weight_decay": 0.8}
    low, high = known(checks[0].interval)
    assert low < 0.1 < high
    assert checks[0].chance == 0.0
    assert "made the best members at 0 of 3 places" in study.summary()


def test_a_rule_whose_setting_was_not_run_is_not_judged():
    checks = member_rule(recipe_limits(members((32, 0.2), ((8, 0.8), (32, 0.2))), draws=0))
    assert [(one.held, one.difference) for one in checks] == [(None, None)] * 3


def test_how_often_the_rule_held_is_counted_where_it_was_tested():
    held, lost, untested = (
        RuleCheck("r", 1e8, 1e8, {}, {}, {}, None, None, None, held, 3) for held in (True, False, None)
    )
    assert list(rule_counts([held, lost, lost, untested])) == [
        "twice the epochs at half the decay made the best members at 1 of 3 places",
        "at 1 place that setting was not tested with three K",
    ]
    assert list(rule_counts([held])) == ["twice the epochs at half the decay made the best members at 1 of 1 place"]
    assert list(rule_counts([untested] * 2)) == ["at 2 places that setting was not tested with three K"]
