"""The inline backend: the grace period begins when the launch is ending, and not before."""

import time

import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schedule import inline
from sweeplaw.orchestrator.schedule.backends import backend
from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import CurvePoint, Row, TrialRecord
from sweeplaw.trials.workloads import registry

TWO = plan(parse('name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [1000]\ntokens = [50]\nlr = [0.1, 0.2]\n'))


def run(rows, *, grace, ending=lambda: False):
    """Run two trials inline and put what they yield into ``rows``, row by row."""
    specs = tuple(spec.canonical() for spec in TWO.specs)
    callbacks = DispatcherCallbacks(
        make_job=lambda pack: Job(pack.pack_id, "surrogate", {}, specs, (1, 1), "t", "L"),
        sink=rows.extend,
        give_up=lambda pack, spec, message, state: None,
        lost=lambda pack, trials, reason: pytest.fail("an inline pack has no worker to lose"),
        settled=lambda loss, reason: None,
        placed=lambda pack, host: None,
        ended=lambda pack: None,
        ending=ending,
    )
    queue = Queue([Pack(TWO.groups, 1.0)], max_attempts=1)
    inline.run(queue, callbacks, slots=None, patience=60.0, grace=grace, ready=60.0, commit=None)


@pytest.fixture(autouse=True)
def row_by_row(monkeypatch):
    monkeypatch.setattr(inline, "STEP_ROWS", 1)


def test_a_pack_may_take_longer_than_the_grace_period_while_the_launch_goes_on():
    rows: list[Row] = []
    run(rows, grace=0.0)
    assert [row.outcome.state for row in rows if isinstance(row, TrialRecord)] == ["completed"] * 2


@pytest.mark.heavy
def test_a_trial_that_ignores_the_end_of_the_launch_is_left_after_the_grace_period(monkeypatch):
    class Deaf:
        real = registry.load("surrogate")
        name, knobs, cost, stacks = real.name, real.knobs, real.cost, True

        def run(self, pack, context):
            for step in range(500):
                time.sleep(0.01)
                yield CurvePoint(pack[0].trial_id, step)

    monkeypatch.setattr(registry, "load", lambda name, options: Deaf())
    rows, started = list[Row](), time.monotonic()
    run(rows, grace=0.2, ending=lambda: bool(rows))
    assert time.monotonic() - started >= 0.2
    assert {type(row) for row in rows} == {CurvePoint}, "it was not awaited"


def test_only_profiles_of_kind_inline_run_in_this_process():
    assert backend("inline") is inline.run
    assert inline.run not in (backend("local"), backend("ray"))
