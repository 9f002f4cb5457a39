"""Certificates of local optima against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sweeplaw.analysis.tuning.certificate import certificate, neighbours

SIZES = (4, 3, 5)


def test_neighbours_are_one_step_along_one_axis_or_one_joint_move() -> None:
    found = neighbours((0, 1, 2), SIZES, [(1, 1, 0)])
    steps = [
        place for place in itertools.product(*map(range, SIZES)) if sum(map(abs, np.subtract(place, (0, 1, 2)))) == 1
    ]
    assert set(found) == {*steps, (1, 2, 2)}  # (-1, 0, 2) is off the ladder


@pytest.mark.parametrize("seed", range(20))
def test_it_holds_exactly_where_brute_force_finds_no_better_neighbour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = list(itertools.product(*map(range, SIZES)))
    ran = [place for place in places if rng.random() < 0.7]
    values = {place: None if rng.random() < 0.1 else float(rng.normal()) for place in ran}
    proof = certificate(values, SIZES)
    assert proof is not None
    known = {place: value for place, value in values.items() if value is not None}
    assert proof.value == min(known.values())
    around = neighbours(proof.best, SIZES)
    assert proof.holds == all(place in values for place in around)
    assert {*proof.open, *proof.worse, *proof.failed} == set(around)
    assert all(known[place] > proof.value for place in proof.worse)


def test_edges_ties_and_conditions() -> None:
    values: dict[tuple[int, ...], float | None] = {(0, 1): 1.0, (1, 1): 1.001, (0, 2): 2.0, (0, 0): None}
    proof = certificate(values, (3, 3), noise=0.01)
    assert proof is not None
    assert (proof.ties, proof.worse, proof.failed, proof.edges) == (((1, 1),), ((0, 2),), ((0, 0),), {0: -1})
    assert proof.holds
    sentence = proof.sentence(["lr", "batch"])
    assert sentence.startswith("no neighbour of 3 is better")
    assert "1 without a loss, counted as worse" in sentence
    assert "at the lowest lr of the ladder" in sentence
    open_end = certificate({(0, 1): 1.0}, (3, 3), excluded=[(0, 0), (0, 2)])
    assert open_end is not None
    assert open_end.open == ((1, 1),)


def test_there_is_none_without_a_loss() -> None:
    assert certificate({(0,): None}, (3,)) is None
