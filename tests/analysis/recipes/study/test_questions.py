"""What is asked of a study: unknown names are refused together, and what cannot be had is a note."""

from __future__ import annotations

import polars as pl
import pytest

from sweeplaw.analysis.recipes.study.questions import answered
from sweeplaw.analysis.recipes.study.study import RecipeStudy, recipe_limits
from sweeplaw.trials.errors import InputError


@pytest.fixture(scope="module")
def study() -> RecipeStudy:
    """One run each of a teacher, a single model beside it, and students of which only one has the N of both."""
    runs = pl.DataFrame({
        "recipe": ["single", "teacher", "student", "stray"], "N": [1e6, 1e6, 1e6, 2e6], "U": [1e7] * 4,
        "K": [1, 4, 1, 1], "loss": [3.2, 3.0, 3.1, 3.1],
    })  # fmt: skip
    return recipe_limits(runs, standard="single", draws=0)


def test_all_unknown_recipes_and_axes_are_said_in_one_message(study):
    asked = [("teacher", "e", "U"), ("a", "single", "Q"), ("single", "single", "N")]
    with pytest.raises(InputError) as caught:
        answered(study, {"studnet": "teacher"}, asked)
    assert [fault.split(" (")[0] for fault in caught.value.faults] == [
        "retained studnet=teacher: no recipe 'studnet'; did you mean 'student'?",
        "crossing teacher,e,U: no recipe 'e'",
        "crossing a,single,Q: no recipe 'a'",
        "crossing a,single,Q: axis 'Q'",
        "crossing single,single,N: a recipe with itself",
    ]


def test_what_cannot_be_had_is_a_note_and_the_rest_is_answered(study):
    found, shares, crossings = answered(study, {"stray": "teacher", "student": "teacher"}, [("teacher", "single", "U")])
    assert [round(one.share or 0, 6) for one in shares] == [0.5]
    assert crossings == []
    lost, crossing = found.notes[:2]
    assert lost.startswith("share that stray retains of teacher left out: ")
    assert "no N and U in common" in lost
    assert crossing.startswith("crossing of teacher and single along U left out: ")
    assert found.notes[2:] == study.notes


def test_a_limit_without_points_is_refused_once_for_all_places_alike():
    runs = pl.DataFrame({
        "recipe": ["standard"] * 10, "N": [1e6 * n for n in range(1, 11)], "U": [1e7] * 10, "K": [1] * 10,
        "loss": [3.0] * 10,
    })  # fmt: skip
    with pytest.raises(InputError) as caught:
        recipe_limits(runs, limits={"standard": ["K"]}, draws=0)
    (fault,) = caught.value.faults
    assert fault.startswith("standard: no limit in K at 10 places (N=1M")
    assert fault.count("N=") == 3
