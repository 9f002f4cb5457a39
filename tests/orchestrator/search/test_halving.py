"""Successive halving: who is promoted, what stays paused, and that a paused trial continues from its checkpoint."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Proposal
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "halving"
workload = "{workload}"
[search]
kind = "{kind}"
samples = 27
first = {first}
reduction = 3
{budget}
[scientific]
params = [1e6]
tokens = [1e8]
[nuisance]
lr = {{ log = [1e-4, 1e-1] }}
"""


def sweep_text(kind: str = "halving", first: float = 1 / 9, budget: str = "", workload: str = "surrogate") -> str:
    return SWEEP.format(kind=kind, first=first, budget=budget, workload=workload)


def run(store: Path, text: str) -> tuple[Launched, pl.DataFrame]:
    done = launch(plan(parse(text)), Store.open(store, create=True), Profile(kind="inline"))
    return done, tables.load(str(store), states=None).trials.collect()


def finished_history(kind: str, worst_first: bool) -> tuple[Space, list[Observation]]:
    """Run the search in memory on losses that are known; the true order of trials is that of their numbers."""
    space = Space(parse(sweep_text(kind)))
    search = registry.load(space)
    seen: dict[object, Observation] = {}
    order: dict[object, int] = {}
    for number in range(1000):
        proposal = search.propose(History(list(seen.values()), number=number))
        if isinstance(proposal, Finished):
            return space, list(seen.values())
        assert isinstance(proposal, Proposal)
        rank = order.setdefault(proposal.setting, len(order))
        loss = 1.0 + (100 - rank if worst_first else rank) / 100
        group = space.group(proposal.setting)
        assert not isinstance(group, str)
        assert group.cost.steps is not None
        step = proposal.until or group.cost.steps
        status = "completed" if proposal.until is None else "paused"
        curve = ((step // 100 or 1, 9.0), (step, loss))
        values = (loss,) if status == "completed" else ()
        seen.pop(proposal.setting, None)
        seen[proposal.setting] = Observation(proposal.setting, status, values, step=step, curve=curve)  # type: ignore[arg-type]
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("worst_first", [False, True])
def test_the_best_third_of_each_rung_goes_on(worst_first: bool) -> None:
    """27 trials, rungs at 1/9 and 1/3: the 9 best reach the second, the 3 best the end, whatever their order; those
    promoted too early (asynchronous) come on top.
    """
    _, seen = finished_history("halving", worst_first)
    completed = sorted(item.values[0] for item in seen if item.status == "completed")
    losses = sorted(item.curve[-1][1] for item in seen)
    assert len(seen) == 27
    assert completed[:3] == losses[:3]
    if not worst_first:  # nobody is promoted in vain
        assert len(completed) == 3


def test_hyperband_has_brackets_that_begin_higher() -> None:
    _, seen = finished_history("hyperband", worst_first=True)
    assert len(seen) == 27 + round(27 / 3 * 1.5) + round(27 / 9 * 3)  # the third bracket has no rung below its end


@pytest.mark.heavy
def test_paused_trials_continue_from_their_checkpoint_and_count_once(tmp_path: Path) -> None:
    done, rows = run(tmp_path / "s", sweep_text(first=0.25))
    assert rows.height == 27
    assert done.states == dict(rows["state"].value_counts().iter_rows())
    assert set(rows["state"]) == {"completed", "paused"}
    assert rows.filter(pl.col("state") == "paused")["val_loss"].null_count() == (rows["state"] == "paused").sum()
    best = rows.filter(pl.col("state") == "completed").sort("val_loss")
    assert best["attempt"][0] == 3
    curves = tables.load(str(tmp_path / "s"), states=None).curves.collect()
    steps = curves.filter(pl.col("trial_id") == best["trial_id"][0], pl.col("attempt") == 3)["step"]
    assert steps.len() == 4  # the points before the pause are there again
    left = {path.stem for path in (tmp_path / "s/checkpoints").iterdir()}
    assert left == set(rows.filter(pl.col("state") == "paused")["trial_id"])


@pytest.mark.heavy
def test_a_budget_of_flops_counts_a_continued_trial_once(tmp_path: Path) -> None:
    whole = 6 * 1e6 * 1e8
    _, rows = run(tmp_path / "s", sweep_text(first=0.25, budget=f"[budget]\nflops = {5 * whole:g}"))
    share = (rows["last_step"] / rows["steps"]).sum()
    assert 4 < share <= 5


def test_trials_that_cannot_continue_are_refused(tmp_path: Path) -> None:
    (tmp_path / "objective.py").write_text("def train(config):\n    return 1.0\n")
    text = sweep_text().replace('workload = "surrogate"\n', "").replace("[search]", "[search]", 1)
    text += '[workload]\nkind = "python:objective:train"\n'
    with pytest.raises(InputError, match=r"continues them from their checkpoints, which .* does not write"):
        registry.check(parse(text, folder=tmp_path))


def test_a_first_rung_below_one_step_is_refused() -> None:
    with pytest.raises(InputError, match="below one step"):
        registry.check(parse(sweep_text(first=1e-9)))
