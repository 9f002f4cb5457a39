"""Rehearsals: a search on a recorded table does what it does in a launch, and spends what it should."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.search_options import KINDS
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import Finished, History, Proposal, Setting
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace
from sweeplaw.orchestrator.search.rehearsal.rehearsal import Rehearsal
from sweeplaw.orchestrator.store.store import Store
from tests.orchestrator.search.rehearsal.planted import BATCH, LR, SIZES, TOKENS, planted, space_of

SWEEP = """
name = "launched"
[workload]
kind = "replay"
table = "runs.parquet"
loss = "loss"
[search]
kind = "{kind}"
[budget]
flops = {flops}
[scientific]
N = {sizes}
D = {tokens}
[nuisance]
lr = {lr}
batch = {batch}
"""


def rehearsed(space: RecordedSpace, kind: str, budget: float, slots: int = 1) -> Rehearsal:
    options = KINDS[kind].model_validate({"kind": kind})
    found = Rehearsal(space, registry.load(space.searched(options)), slots)
    found.run(budget)
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["law", "tpe"])
def test_a_rehearsal_runs_what_a_launch_of_the_same_search_runs(tmp_path: Path, kind: str) -> None:
    runs = planted(noise=0.001).with_columns(N=pl.col("N").cast(pl.Int64), D=pl.col("D").cast(pl.Int64))
    runs = runs.filter(pl.col("D") == TOKENS[0])  # cells in the same order in both
    runs.write_parquet(tmp_path / "runs.parquet")
    space = space_of(runs)
    flops = 0.08 * space.total
    sizes, tokens = [int(n) for n in SIZES], [int(TOKENS[0])]
    text = SWEEP.format(kind=kind, flops=flops, sizes=sizes, tokens=tokens, lr=LR, batch=BATCH)
    store = Store.open(tmp_path / "s", create=True)
    launch(plan(parse(text, folder=tmp_path)), store, Profile(kind="inline"))
    launched = tables.load(str(tmp_path / "s")).trials.sort("search_number").collect()
    ran = rehearsed(space, kind, flops).history().observations
    assert len(ran) > 15
    assert [space.knobs(seen.setting) for seen in ran] == launched.select("D", "N", "batch", "lr").to_dicts()
    assert [seen.value for seen in ran] == launched["val_loss"].to_list()


@pytest.mark.parametrize("slots", [1, 5])
def test_a_budget_is_spent_and_never_exceeded(slots: int) -> None:
    space = space_of(planted())
    most_expensive = max(recorded.flops for recorded in space.outcomes.values())
    found = rehearsed(space, "random", 0.3 * space.total, slots)
    assert 0.3 * space.total - most_expensive < found.spent <= 0.3 * space.total
    assert found.spent == pytest.approx(sum(seen.flops or 0.0 for seen in found.history().observations))
    assert found.ended.startswith("the budget is spent")


@pytest.mark.heavy
def test_slots_share_the_work_and_the_search_knows_what_is_pending() -> None:
    space = space_of(planted())

    class Watching:
        most = 0

        def __init__(self) -> None:
            self._order = list(space.outcomes)

        def propose(self, history: History) -> Proposal | Finished | None:
            self.most = max(self.most, len(history.pending))
            assert not {item.setting for item in history.pending} & {seen.setting for seen in history.observations}
            taken = history.taken
            left = [one for one in self._order if one not in taken]
            return Proposal(left[0], "the next") if left else Finished("all have run")

        def belief(self, history: History) -> str:
            return ""

    search = Watching()
    found = Rehearsal(space, search, slots=4)
    found.run(math.inf)
    assert (found.ended, found.trials, search.most) == ("all have run", len(space.outcomes), 3)
    assert space.total / 4 <= found.clock < 0.3 * space.total


def test_a_raised_budget_continues_the_search() -> None:
    space = space_of(planted())
    at_once = rehearsed(space, "local", 0.2 * space.total)
    raised = rehearsed(space, "local", 0.05 * space.total)
    raised.run(0.2 * space.total)
    settings = [[seen.setting for seen in one.history().observations] for one in (at_once, raised)]
    assert settings[0][: len(settings[1])] == settings[1][: len(settings[0])]


@pytest.mark.heavy
def test_runs_that_a_search_gives_up_cost_what_they_had_and_are_no_results() -> None:
    """With learning curves that never cross, most of a random search is stopped."""
    runs = planted()
    curves = [[[float(step), loss * (1 + 0.1 * (8 / step - 1))] for step in range(1, 9)] for loss in runs["loss"]]
    space = space_of(runs.with_columns(curve=pl.Series(curves)), curve="curve")
    options = KINDS["random"].model_validate({"kind": "random", "samples": 60, "early_stopping": {"checks": 3}})
    found = Rehearsal(space, registry.load(space.searched(options)))
    found.run(math.inf)
    seen = found.history().observations
    stopped = [one for one in seen if one.status == "stopped"]
    assert {one.status for one in seen} == {"completed", "stopped"}
    assert len(stopped) > 0.3 * len(seen)
    assert all(not one.values and one.step is not None and one.step < 8 for one in stopped)
    assert found.spent == pytest.approx(sum(space.outcomes[one.setting].flops * (one.step or 0) / 8 for one in seen))


class Pausing:
    """Runs the first setting to a step, then to its end."""

    def __init__(self, setting: Setting, until: int) -> None:
        self._setting, self._until = setting, until

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return the next part of the run."""
        seen = {one.status for one in history.observations}
        if "completed" in seen:
            return Finished("done")
        return Proposal(self._setting, "on" if seen else "first", until=None if seen else self._until)

    def belief(self, history: History) -> str:
        """Return nothing."""
        return ""


@pytest.mark.parametrize("until", [5, 10])
def test_a_paused_run_costs_its_share_and_goes_on_from_there(until: int) -> None:
    """It pauses at the first point of its curve from the step on that was asked for, a third of its steps."""
    runs = planted()
    curves = [[[10.0, loss + 1.0], [20.0, loss + 0.5], [30.0, loss]] for loss in runs["loss"]]
    space = space_of(runs.with_columns(curve=pl.Series(curves)), curve="curve")
    setting = next(iter(space.outcomes))
    recorded = space.outcomes[setting]
    found = Rehearsal(space, Pausing(setting, until))
    found.run(recorded.flops / 3)
    (paused,) = found.history().observations
    assert (paused.status, paused.step, paused.steps, paused.values) == ("paused", 10, 30, ())
    assert [step for step, _ in paused.curve] == [10]
    assert paused.curve[0][1] == pytest.approx(recorded.loss + 1)
    assert found.spent == pytest.approx(recorded.flops / 3)
    assert found.ended.startswith("the budget is spent")
    found.run(recorded.flops)
    (whole,) = found.history().observations
    assert (whole.status, whole.value) == ("completed", recorded.loss)
    assert found.spent == pytest.approx(recorded.flops)
