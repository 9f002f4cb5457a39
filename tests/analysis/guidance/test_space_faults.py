"""The space of a search: its coordinates, and every fault of its arrays in one message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweeplaw.analysis.guidance.space import CandidateSpace, NumericKnob
from sweeplaw.trials.errors import InputError

KNOBS = (NumericKnob("lr"), NumericKnob("warmup", "linear"))


def space(**changed: Any) -> CandidateSpace:
    given: dict[str, Any] = {
        "knobs": KNOBS, "axes": ("N",), "cells": [[1e8], [4e8]], "cell": [0, 0, 1, 1],
        "settings": [[1.0, 0.0], [4.0, 3.0], [1.0, 3.0], [4.0, 0.0]], "cost": [1.0, 1.0, 4.0, 4.0],
    }  # fmt: skip
    return CandidateSpace.of(**{**given, **changed})


def test_coordinates_are_octaves_and_sixths_of_a_linear_range_about_the_middle() -> None:
    found = space(recipe=[0, 1, 0, 1], recipes=("a", "b"))
    assert found.x.tolist() == [[-1.0, -3.0], [1.0, 3.0], [-1.0, 3.0], [1.0, -3.0]]
    assert found.z.tolist() == [[-1.0], [1.0]]
    assert found.at([2e8]).tolist() == [0.0]
    assert found.cell_name(1) == "N = 400M"
    assert (len(found), found.surface.tolist()) == (4, [0, 1, 2, 3])
    assert list(zip(found.surface_cell.tolist(), found.surface_recipe.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"target = \(0.0,\) \(accepted: a positive value for each of N\)"):
        found.at([0.0])
    with pytest.raises(InputError, match="accepted: a positive value for each of N"):
        found.at([1.0, 2.0])


@pytest.mark.parametrize(
    ("changed", "faults"),
    [
        ({"knobs": (NumericKnob("lr", "lin"), KNOBS[1])}, ["scale of lr = 'lin' (accepted: log, linear)"]),
        ({"cell": [], "settings": np.zeros((0, 2)), "cost": []}, ["no candidates (accepted: at least one point)"]),
        ({"knobs": (), "settings": np.zeros((4, 0))}, ["no numeric knob (accepted: at least one;"]),
        ({"settings": [[1.0, 0.0]]}, ["settings have the shape (1, 2) (accepted: (4, 2))"]),
        ({"cost": [1.0]}, ["cost and recipe need one value for each of 4 points"]),
        ({"recipe": [0]}, ["cost and recipe need one value for each of 4 points"]),
        ({"cell": [0, 0, 1, 2]}, ["cells of the points are 0 to 2 (accepted: each of 2)"]),
        ({"cell": [0, 0, 0, 0]}, ["cells of the points are 0 to 0 (accepted: each of 2)"]),
        ({"recipe": [0, 0, 0, 1]}, ["recipes of the points are 0 to 1 (accepted: 0 to 0)"]),
        (
            {"cells": [[1e8], [-1.0]], "cost": [1.0, 1.0, 0.0, 4.0], "recipe": [0, 0, 0, -1]},
            ["recipes of the points are -1 to 0", "axis N has the value -1 (accepted: positive numbers)",
             "cost has the value 0 (accepted: positive numbers)"],
        ),
        (
            {"settings": [[0.0, 0.0], [4.0, np.nan], [1.0, 3.0], [4.0, 0.0]]},
            ["knob lr on a log axis has the value 0", "settings have a value that is not finite"],
        ),
    ],
)  # fmt: skip
def test_every_fault_is_in_one_message(changed: dict[str, Any], faults: list[str]) -> None:
    with pytest.raises(InputError, match="search space") as caught:
        space(**changed)
    assert len(caught.value.faults) == len(faults)
    for said, fault in zip(caught.value.faults, faults, strict=True):
        assert fault in said
