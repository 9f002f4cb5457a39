"""Where a planted recipe overtakes another one along N, U and compute."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.recipes.study.crossing import recipe_crossing
from sweeplaw.analysis.recipes.study.study import RecipeStudy, recipe_limits
from sweeplaw.trials.errors import InputError
from tests.analysis.recipes.study.planted import known

SIZES = (1e8, 2e8, 4e8, 8e8, 16e8)


def study(noise: float = 0.0005, draws: int = 300, **options) -> RecipeStudy:
    """Return two recipes, 3 + .1 / n and 2.9 + .3 / n with n = N / 1e8, which cross at n = 2. The second costs more."""
    rng = np.random.default_rng(0)
    rows = [
        (name, n, 1e8, loss + noise * rng.standard_normal(), cost * n)
        for n in SIZES
        for name, loss, cost in (("small", 3 + 0.1e8 / n, 1e9), ("large", 2.9 + 0.3e8 / n, 4e9))
    ]
    table = pl.DataFrame(rows, schema=["recipe", "N", "U", "loss", "flops"], orient="row")
    return recipe_limits(table, noise=noise or None, draws=draws, **options)


@pytest.mark.heavy
def test_the_planted_crossing_along_n_is_in_its_interval():
    found = analysis.recipe_crossing(study(), "large", "small")
    assert found.axis == "N"
    assert known(found.interval).low < 2e8 < known(found.interval).high
    assert found.estimate == pytest.approx(2e8, rel=0.02)
    assert found.probability == 1.0
    assert found.overtakes == 1.0
    assert found.interval == recipe_crossing(study(), "large", "small", "N", seed=0).interval
    assert found.interval != recipe_crossing(study(), "large", "small", "N", seed=1).interval


@pytest.mark.heavy
def test_along_compute_the_more_expensive_recipe_overtakes_later():
    # 3 + .1e17 / C = 2.9 + 1.2e17 / C at C = 1.1e18
    found = recipe_crossing(study(), "large", "small", "compute")
    assert found.axis == "compute"
    assert found.estimate == pytest.approx(1.1e18, rel=0.03)


@pytest.mark.heavy
def test_recipes_without_a_law_or_errors_there_are_refused():
    with pytest.raises(InputError, match="no errors of its law are known"):
        recipe_crossing(study(draws=0), "large", "small")
    with pytest.raises(InputError, match="large has no law along U"):
        recipe_crossing(study(), "large", "small", "U")
    rows = [("small" if k % 2 else "large", n, 1e8, 3 + k / n, None) for n in SIZES for k in (1, 2)]
    table = pl.DataFrame(rows, schema=["recipe", "N", "U", "loss", "flops"], orient="row")
    with pytest.raises(InputError, match="takes 3 N or more, and the training FLOPs are known of 0 of 5"):
        recipe_crossing(recipe_limits(table, noise=0.01, draws=20), "large", "small", "compute")
    with pytest.raises(InputError, match="accepted: N, U, compute"):
        recipe_crossing(study(), "large", "small", "D")
    with pytest.raises(InputError, match="did you mean 'large'"):
        recipe_crossing(study(), "lagre", "small")


@pytest.mark.heavy
def test_it_says_which_recipe_overtakes_and_when_it_cannot_tell():
    found = recipe_crossing(study(), "large", "small")
    assert found.located
    assert found.winner == "A"
    assert found.within.low < 2e8 < found.within.high
    assert found.verdict().startswith("A overtakes B between N = ")
    back = recipe_crossing(study(), "small", "large")
    assert back.winner == "B"
    assert back.within.low == pytest.approx(found.within.low, rel=0.1)
    unclear = recipe_crossing(study(noise=0.02), "large", "small")
    assert not unclear.located
    assert "cannot tell" in unclear.verdict()
    ahead = recipe_crossing(study(), "large", "small", low=6e8, high=16e9)
    assert ahead.verdict().startswith("A is ahead of B everywhere")
    assert ahead.to_dict()["verdict"] == ahead.verdict()
