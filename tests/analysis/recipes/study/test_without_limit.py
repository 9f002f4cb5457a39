"""What a study says of recipes whose losses have no limit: their measured models, and in words why there is none."""

from __future__ import annotations

import polars as pl
import pytest

from sweeplaw.analysis.recipes.limits.levels import RecipeLimits
from sweeplaw.analysis.recipes.study.crossing import recipe_crossing
from sweeplaw.analysis.recipes.study.study import RecipeStudy, recipe_limits
from sweeplaw.trials.errors import InputError
from tests.analysis.recipes.study.planted import BUDGETS, SIZES, effective, runs

pytestmark = pytest.mark.heavy


def rows_of(text: str, heading: str) -> list[str]:
    """The lines of a table below its heads."""
    table = text.split(heading, 1)[1].split("\n\n", 1)[0].splitlines()
    return [line for line in table[1:] if not line.startswith(("recipe ", "note:", "intervals by"))]


@pytest.fixture(scope="module")
def study() -> RecipeStudy:
    """A standard recipe with a law, and another whose loss rises with N: it has no limit there."""
    rising = [("rising", n, u, 1, 3.0 + 0.05 * i - 0.1 * j) for i, n in enumerate(SIZES) for j, u in enumerate(BUDGETS)]
    standard = runs().filter(pl.col("recipe") == "standard").drop("seed")
    return recipe_limits(pl.concat([standard, pl.DataFrame(rising, schema=standard.schema, orient="row")]), draws=20,
                         noise=0.001)  # fmt: skip


def test_a_recipe_without_limits_has_its_best_models_and_what_they_are_worth(study: RecipeStudy) -> None:
    found = {one.u: one for one in study.multiples if one.recipe == "rising"}
    assert [one.loss for one in found.values()] == pytest.approx([3.0, 2.9, 2.8, 2.7])
    assert {one.what for one in found.values()} == {"best measured, N = 150M"}
    for u, one in found.items():
        base = study.recipes["standard"].at(u)
        assert base is not None
        assert one.value == pytest.approx(effective(one.loss) / effective(base.value), rel=1e-3)
    reached = rows_of(study.summary(), "What each recipe reaches")
    assert sum("no limit in N" in line for line in reached) == len(BUDGETS)
    assert "rising: no limit in N at any U; best measured 2.7000 (N = 150M) at U = 1.6B" in study.headline()


def test_it_is_said_in_words_why_there_is_no_law(study: RecipeStudy) -> None:
    assert "rising, law over U: none: no limit in N at any U" in study.notes
    laws = [line for line in rows_of(study.summary(), "Laws C + A x^-alpha") if "degenerate" in line]
    assert len(laws) == len(BUDGETS)
    assert all("not falling: 3.05" in laws[0] and "not falling" in line for line in laws)
    with pytest.raises(InputError, match="rising has no law along U: no limit in N at any U"):
        recipe_crossing(study, "rising", "standard", "U")


def test_a_result_that_a_point_is_needed_for_is_lost_in_words_without_it() -> None:
    three = runs().filter(pl.col("N").is_in(SIZES[:3]), pl.col("U").is_in(BUDGETS[:3]))
    lines = rows_of(recipe_limits(three, draws=0).summary(), "Sensitivity")
    assert any("no limit without it" in line for line in lines)
    assert any("no multiple without it" in line for line in lines)
    assert not any(" none " in line for line in lines)


def test_models_come_by_data_then_size(study: RecipeStudy) -> None:
    def places(one: RecipeLimits) -> list[tuple[float, float, float]]:
        return [(model.u, model.n, model.k) for model in one.models]

    for recipe in recipe_limits(runs().sample(fraction=1, shuffle=True, seed=0), draws=0).recipes.values():
        assert places(recipe) == sorted(places(recipe))
