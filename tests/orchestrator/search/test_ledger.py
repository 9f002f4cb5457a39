"""What a search knows of its space: the rows of settings over their seeds, what they used, and what still runs."""

from __future__ import annotations

from typing import Any

import pytest

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.contract import Observation, Pending, Proposal, RemainingBudget, Setting
from sweeplaw.orchestrator.search.ledger import Ledger, SearchObjective
from sweeplaw.orchestrator.search.space import Space

SWEEP = """
name = "known"
workload = "surrogate"
seeds = 2
[search]
kind = "halving"
samples = 4
[scientific]
params = [1e8, 2e9]
tokens = [2e9, 4e9]
[nuisance]
lr = [1e-3, 1e-2]
batch_sequences = [64, 128]
[budget]
trials = 40
"""
OBJECTIVE = SearchObjective(("val_loss",))
FIRST, SECOND = (Setting(0, ((64,), (lr,))) for lr in (1e-3, 1e-2))


@pytest.fixture
def space() -> Space:
    return Space(parse(SWEEP))


def trials(space: Space, setting: Setting) -> Group:
    group = space.group(setting)
    assert isinstance(group, Group)
    return group


def row(trial_id: str, state: str = "completed", loss: float | None = 3.0, **more: Any) -> dict[str, Any]:
    own = {"launch_id": "one", "sweep": "known", "flops": 1000.0, "steps": 10, "last_step": 10}
    return {"trial_id": trial_id, "state": state, "val_loss": loss, **own, **more}


def observed(ledger: Ledger) -> list[Observation]:
    return list(ledger.history(RemainingBudget()).observations)


def test_a_setting_ends_with_its_last_seed_and_has_the_mean_of_their_losses(space: Space) -> None:
    ledger, group = Ledger(space, OBJECTIVE), trials(space, FIRST)
    assert ledger.proposed(Proposal(FIRST, "why"), group, known=7) == 0
    assert ledger.history(RemainingBudget()).pending == [Pending(FIRST, 0, 7)]
    ledger.add(row(group.ids[0], loss=3.0))
    (left,) = ledger.incomplete()
    assert (left.setting, left.ids, left.number, left.known) == (FIRST, group.ids[1:], 0, 7)
    assert (ledger.has(group.ids[0]), ledger.has(group.ids[1]), ledger.trials) == (True, False, 1)
    ledger.add(row(group.ids[1], loss=4.0, flops=500.0))
    assert ledger.incomplete() == []
    history = ledger.history(RemainingBudget(trials=3))
    assert (history.number, history.spent, history.left.trials, history.pending) == (1, 1500.0, 3, [])
    assert history.observations == [
        Observation(FIRST, "completed", (3.5,), 1500.0, 0, 7, 10, 10, (), tuple(group.ids), {})
    ]
    assert (history.observations[0].value, history.taken) == (3.5, {FIRST})
    known = ledger.row(group.ids[1])
    assert known is not None
    assert known["val_loss"] == 4.0
    assert ledger.row("another") is None


def test_a_setting_is_proposed_again_without_its_earlier_rows_and_keeps_what_they_used(space: Space) -> None:
    ledger, group = Ledger(space, OBJECTIVE), trials(space, FIRST)
    ledger.proposed(Proposal(FIRST, "why"), group, known=0)
    for trial_id in group.ids:
        ledger.add(row(trial_id, "paused", None, last_step=4))
    assert [ledger.step(trial_id) for trial_id in (*group.ids, "other")] == [4, 4, 0]
    (paused,) = observed(ledger)
    assert (paused.status, paused.values, paused.step, paused.steps, paused.flops) == ("paused", (), 4, 10, 800.0)
    assert ledger.proposed(Proposal(FIRST, "on"), group, known=1) == 1
    history = ledger.history(RemainingBudget())
    assert (list(history.observations), history.pending) == ([], [Pending(FIRST, 1, 1)])
    assert (history.spent, history.number) == (800.0, 2)


@pytest.mark.parametrize(
    ("states", "losses", "status"),
    [
        (("completed", "completed"), (3.0, 4.0), "completed"),
        (("completed", "diverged"), (3.0, None), "diverged"),
        (("completed", "out_of_memory"), (3.0, None), "failed"),
        (("failed", "diverged"), (None, None), "diverged"),
        (("completed", "stopped"), (3.0, 4.0), "stopped"),
        (("failed", "stopped"), (None, None), "failed"),
        (("paused", "stopped"), (None, None), "stopped"),
        (("completed", "preempted"), (3.0, None), "paused"),
        (("completed", "budget"), (3.0, None), "paused"),
        (("completed", "completed"), (3.0, float("nan")), "failed"),
        (("completed", "completed"), (3.0, None), "failed"),
    ],
)
def test_the_worst_seed_tells_how_a_setting_ended(
    space: Space, states: tuple[str, str], losses: tuple[float | None, float | None], status: str
) -> None:
    ledger, group = Ledger(space, OBJECTIVE), trials(space, FIRST)
    ledger.proposed(Proposal(FIRST, "why"), group, known=0)
    for trial_id, state, loss in zip(group.ids, states, losses, strict=True):
        ledger.add(row(trial_id, state, loss))
    (found,) = observed(ledger)
    assert found.status == status
    assert found.values == ((3.5,) if status == "completed" else ())


def test_an_interrupted_trial_ends_nothing_where_no_search_pauses() -> None:
    space = Space(parse(SWEEP.replace('kind = "halving"\nsamples = 4', 'kind = "local"')))
    ledger, group = Ledger(space, OBJECTIVE), trials(space, FIRST)
    ledger.proposed(Proposal(FIRST, "why"), group, known=0)
    for trial_id in group.ids:
        ledger.add(row(trial_id, "preempted", None, last_step=5))
    history = ledger.history(RemainingBudget())
    assert (len(history.pending), len(history.observations), history.spent) == (1, 0, 1000.0)


def test_the_curve_of_a_setting_is_the_mean_at_the_steps_that_all_its_seeds_have(space: Space) -> None:
    ledger, group = Ledger(space, SearchObjective(("val_loss",), frozenset({"val_loss"}))), trials(space, FIRST)
    ledger.proposed(Proposal(FIRST, "why"), group, known=0)
    for trial_id, losses in zip(group.ids, ({2: 5.0, 4: 4.0}, {4: 3.0, 2: 3.0, 6: 1.0}), strict=True):
        ledger.add(row(trial_id))
        for step, loss in losses.items():
            ledger.add_point(trial_id, step, {"val_loss": loss})
        ledger.add_point(trial_id, 9, {"train_loss": 1.0})
    (found,) = observed(ledger)
    assert (found.curve, found.values) == (((2, -4.0), (4, -3.5)), (-3.0,))
    ledger.add_point(group.ids[0], 6, {"val_loss": 3.0})
    assert observed(ledger)[0].curve == ((2, -4.0), (4, -3.5), (6, -2.0))


def test_pending_settings_are_in_the_order_of_their_proposals_those_of_other_launches_last(space: Space) -> None:
    ledger = Ledger(space, OBJECTIVE)
    other = Setting(1, ((64,), (1e-3,)))
    ledger.held_elsewhere(other, trials(space, other))
    for number, setting in enumerate((SECOND, FIRST)):
        assert ledger.proposed(Proposal(setting, "why"), trials(space, setting), number) == number
    history = ledger.history(RemainingBudget())
    assert history.pending == [Pending(SECOND, 0, 0), Pending(FIRST, 1, 1), Pending(other)]
    assert history.taken == {FIRST, SECOND, other}
    ledger.add(row(trials(space, other).ids[0]))
    assert ledger.incomplete() == [], "another launch has them"


def test_rows_that_a_search_proposed_are_continued_by_their_number(space: Space) -> None:
    ledger, group = Ledger(space, OBJECTIVE), trials(space, FIRST)
    note: dict[str, Any] = {"search_number": 5, "search_known": 3, "search_setting": space.encode(FIRST)}
    ledger.add(row(group.ids[0], **note))
    assert ledger.history(RemainingBudget()).number == 6
    (left,) = ledger.incomplete()
    assert (left.ids, left.number, left.known) == (group.ids[1:], 5, 3)
    foreign = {**space.knobs(FIRST), "launch_id": "two", "sweep": "other"}
    ledger.add({**row(group.ids[1]), **foreign})
    assert (ledger.foreign, ledger.history(RemainingBudget()).spent, ledger.trials) == (0, 1000.0, 1)
    assert not ledger.has(group.ids[1]), "it is a trial of another sweep"
    ledger.add({**row("made elsewhere"), **space.knobs(FIRST)})
    ledger.add(row("nowhere", search_setting="{"))
    assert ledger.foreign == 2


def test_a_setting_and_a_point_in_words_and_its_neighbours(space: Space) -> None:
    assert [space.describe_cell(cell) for cell in (0, 3)] == ["params 100M, tokens 2B", "params 2B, tokens 4B"]
    assert space.describe(SECOND) == "batch_sequences 64, lr 0.01 at params 100M, tokens 2B"
    assert (space.names, space.seeds, space.finite) == (("batch_sequences", "lr"), 2, True)
    assert space.neighbours() == {0: [2, 1], 1: [3, 0], 2: [0, 3], 3: [1, 2]}
    assert space.decode(space.encode(SECOND, {"changes": "x"})) == (SECOND, {"changes": "x"})
    assert space.decode("[1]") == space.decode('{"": 1}') == (None, {})
    flops = [space.flops(Setting(cell, FIRST.values)) for cell in range(4)]
    assert flops == [2 * 6 * n * d for n in (1e8, 2e9) for d in (2e9, 4e9)]
    assert len(space.candidates) == 16
    assert [len(group.ids) for group in space.examples] == [2] * 4
