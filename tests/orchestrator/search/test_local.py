"""Local search on planted surfaces: certificates, edges, diverged corners, joint moves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.answers import answers
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "local"
workload = "surrogate"
[search]
kind = "local"
{search}
[scientific]
params = [1e6, 1e7, 1e8]
tokens = [1e9, 1e10]
[nuisance]
lr = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
batch_sequences = [16, 32, 64, 128, 256, 512]
"""
Place = tuple[int, int]


def space_of(search: str = "") -> Space:
    return Space(parse(SWEEP.format(search=search)))


def place_of(space: Space, setting: Setting) -> Place:
    """Return the places of batch and lr (axes are in the order of their names)."""
    lists = [[value for (value,) in axis.values] for axis in space.axes]
    first, second = (values.index(own[0]) for values, own in zip(lists, setting.values, strict=True))
    return first, second


def search(space: Space, loss: Callable[[int, Place], float | None], most: int = 500) -> tuple[History, str]:
    """Run the search to its end on a planted loss; return its history and why it ended."""
    found = registry.load(space)
    seen: list[Observation] = []
    for number in range(most):
        history = History(seen, number=number)
        proposal = found.propose(history)
        if isinstance(proposal, Finished):
            return history, proposal.reason
        assert isinstance(proposal, Proposal)
        value = loss(proposal.setting.cell, place_of(space, proposal.setting))
        state = "diverged" if value is None else "completed"
        seen.append(Observation(proposal.setting, state, () if value is None else (value,), number=number))  # type: ignore[arg-type]
    raise AssertionError("the search does not end")


def bowl(optima: Sequence[Place]) -> Callable[[int, Place], float]:
    return lambda cell, place: 2.0 + sum((a - b) ** 2 for a, b in zip(place, optima[cell], strict=True))


def test_every_point_is_certified_at_its_optimum_for_a_fraction_of_the_grid() -> None:
    space = space_of()
    optima = [(1, 5), (2, 5), (2, 4), (3, 4), (3, 3), (4, 3)]
    history, why = search(space, bowl(optima))
    best = answers(registry.load(space), space, history)
    assert [place_of(space, answer.setting) for answer in best] == optima
    assert all("no neighbour of 4 is better" in answer.words for answer in best)
    assert why == "no neighbour is better at any of 6 points"
    assert len(history.observations) < len(space.candidates) / 4


def test_an_optimum_at_the_end_of_a_ladder_says_so() -> None:
    space = space_of()
    history, _ = search(space, bowl([(5, 6)] * 6))
    for answer in answers(registry.load(space), space, history):
        assert place_of(space, answer.setting) == (5, 6)
        assert "highest batch_sequences, highest lr" in answer.words


def test_diverged_neighbours_count_as_worse() -> None:
    space = space_of()
    planted = bowl([(2, 3)] * 6)
    history, _ = search(space, lambda cell, place: None if place[1] > 3 else planted(cell, place))
    for answer in answers(registry.load(space), space, history):
        assert place_of(space, answer.setting) == (2, 3)
        assert "1 without a loss" in answer.words


def test_a_joint_move_leaves_a_valley_in_which_single_steps_stall() -> None:
    """Along the diagonal the loss falls, every single step leaves it and rises."""

    def valley(cell: int, place: Place) -> float:
        return 2.0 + 10.0 * (place[0] - place[1]) ** 2 + (place[0] - 5) ** 2

    stalled = space_of("start = { batch_sequences = 32, lr = 3e-4 }")
    history, _ = search(stalled, valley)
    assert {place_of(stalled, answer.setting) for answer in answers(registry.load(stalled), stalled, history)} == {
        (1, 1)
    }
    joint = space_of("start = { batch_sequences = 32, lr = 3e-4 }\nmoves = [{ batch_sequences = 1, lr = 1 }]")
    history, _ = search(joint, valley)
    assert {place_of(joint, answer.setting) for answer in answers(registry.load(joint), joint, history)} == {(5, 5)}


def test_a_start_or_a_move_that_is_none_is_refused() -> None:
    space = space_of("start = { lr = 0.5, momentum = 1 }\nmoves = [{ batch = 1 }, { lr = 0 }]")
    with pytest.raises(InputError) as caught:
        registry.load(space)
    message = str(caught.value)
    assert "no axis batch; did you mean 'batch_sequences'?" in message or "no axis batch" in message
    assert "moves nothing" in message
    assert "no axis momentum" in message
    assert "is not a value of lr" in message


def test_the_grid_of_the_test_is_what_it_says() -> None:
    assert len(list(itertools.product(range(6), range(7)))) * 6 == len(space_of().candidates)
