"""Errors of means over all subsets of an ensemble's members, against planted effects and against simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.recipes.limits.cells import cells
from sweeplaw.analysis.recipes.limits.columns import read_runs
from sweeplaw.analysis.recipes.limits.noise import Errors, member_effects, unexplained
from tests.analysis.recipes.study.planted import known

Table = tuple[np.ndarray, np.ndarray, list[frozenset[str]]]


def ensemble(effects: np.ndarray, pairwise: float = 0.0, seed: int = 0) -> Table:
    """Return sizes, losses and subsets: 3 + .25 / K plus the mean effect of the members, and a term of each pair."""
    members, rng = len(effects), np.random.default_rng(seed)
    pairs = pairwise * rng.standard_normal((members, members))
    rows = []
    for k in range(1, members + 1):
        for chosen in combinations(range(members), k):
            own = effects[list(chosen)].mean() + sum(pairs[a, b] for a, b in combinations(chosen, 2)) / k**2
            rows.append((k, 3 + 0.25 / k + own, frozenset(map(str, chosen))))
    sizes, losses, subsets = zip(*rows, strict=True)
    return np.array(sizes, dtype=float), np.array(losses), list(subsets)


def test_planted_effects_of_members_are_recovered_at_every_size():
    effects = np.array([0.02, -0.01, 0.0, 0.03, -0.02])
    found = member_effects(*ensemble(effects))
    assert found == pytest.approx(np.tile(effects - effects.mean(), (5, 1)).T, abs=1e-12)


@pytest.mark.heavy
def test_the_error_of_a_mean_over_all_subsets_is_that_of_another_set_of_members():
    rng = np.random.default_rng(1)
    means, errors = [], []
    for seed in range(200):
        sizes, losses, subsets = ensemble(0.01 * rng.standard_normal(5), 0.002, seed)
        means.append([losses[sizes == k].mean() for k in range(1, 6)])
        effects = member_effects(sizes, losses, subsets)
        errors.append(np.sum(known(effects) ** 2, axis=0) / 20)
    spread = np.std(means, axis=0)
    assert np.sqrt(np.mean(errors, axis=0)) == pytest.approx(spread, rel=0.15)


def test_single_models_that_are_members_have_the_standard_error_of_their_mean():
    sizes, losses, subsets = ensemble(np.array([0.02, -0.01, 0.0, 0.03]), 0.002)
    table = pl.DataFrame({"K": sizes, "loss": losses, "subset": [",".join(one) for one in subsets]})
    ((one,),) = cells(read_runs(table.with_columns(recipe=pl.lit("e"), N=1e8, U=2e8))).values()
    assert one.errors.standard[0] == pytest.approx(stats.sem(losses[sizes == 1]))
    assert (one.errors.freedom, one.errors.origin) == (3, "members")


def test_nested_subsets_tell_no_errors():
    sizes, losses, subsets = ensemble(np.array([0.02, -0.01, 0.0]))
    nested = [index for index, one in enumerate(subsets) if one == frozenset(map(str, range(len(one))))]
    assert member_effects(sizes[nested], losses[nested], [subsets[index] for index in nested]) is None


def test_draws_have_the_spread_of_t_and_those_of_members_move_together():
    rng = np.random.default_rng(0)
    normal = Errors(np.array([1.0, 2.0]), np.inf, "seeds").draw(rng, 20_000)
    assert normal.std(axis=0) == pytest.approx([1.0, 2.0], rel=0.02)
    few = Errors(np.array([1.0]), 5.0, "seeds").draw(rng, 50_000)
    assert np.quantile(few, 0.975) == pytest.approx(2.571, rel=0.03)  # t of 5 degrees of freedom
    effects = np.outer([1.0, -1.0, 0.5, -0.5], [1.0, 1.0])
    together = Errors(np.ones(2), 3.0, "members", effects).draw(rng, 100)
    assert together[:, 0] == pytest.approx(together[:, 1])


def test_residuals_beyond_the_errors_are_noise_and_others_are_not():
    rng = np.random.default_rng(0)
    residuals, drawn = [0.01 * rng.standard_normal(20)], [0.01 * rng.standard_normal((500, 20))]
    assert unexplained(residuals, drawn, 3)[0] == 0.0
    spread, freedom, p = unexplained(residuals, [0.1 * drawn[0]], 3)
    assert spread == pytest.approx(0.01, rel=0.3)
    assert freedom == 17.0
    assert p < 1e-6
    assert unexplained(residuals, [0 * drawn[0]], 3)[0] > spread
    assert unexplained([np.zeros(3)], [np.zeros((500, 3))], 3) == (0.0, 0.0, 1.0)
