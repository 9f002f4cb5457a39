"""The live line of a launch shows every fact, whatever the width of the terminal."""

import datetime as dt
import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.monitor import progress_bar
from sweeplaw.orchestrator.monitor.progress_bar import LaunchProgress
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schedule.device_time import WastedWork
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.trials.record import CurvePoint

LONG = "a-name-of-sixty-four-characters-0123456789-0123456789-0123456789"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", ["small", LONG])
def test_no_fact_is_cut(name, width, monkeypatch):
    drawn_to = io.StringIO()
    console = Console(file=drawn_to, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress_bar, "Console", lambda **settings: console)
    drawn = LaunchProgress()
    drawn._finished, drawn._failures, drawn._best = 999, 3, 2.5
    drawn._work, drawn._total_work = 50.0, 100.0
    drawn._bar.update(drawn._task, description=name, total=123456, completed=999, facts=drawn.facts())
    console.print(*drawn._bar.get_renderables())
    lines = drawn_to.getvalue().splitlines()
    assert "…" not in "".join(lines)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "999/123456" in text
    assert "left · best 2.5000 · 3 not completed" in text
    assert name in "".join(line[: width - 20].split("  ")[0].strip() for line in lines)


def test_the_total_is_trials_however_often_they_are_tried_again(record):
    state = LaunchState()
    drawn = LaunchProgress(state)
    todo = plan(parse('name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [10, 20, 30]\ntokens = [50]\n'))
    drawn.started(todo, 0, ClusterInfo(address=None, nodes=(), slots=1))
    failed, completed = record(0, state="failed"), record(0)
    for _ in range(5):
        state.retried()
        drawn.recorded([failed])
    (task,) = drawn._bar.tasks
    assert (task.completed, task.total) == (0, 3)
    assert "left" not in drawn.facts()
    assert "0 not completed" in drawn.facts()
    drawn.recorded([completed, replace(failed, attempt=6)])
    assert (task.completed, task.total) == (2, 3)
    assert "1 not completed" in drawn.facts()


def test_a_trial_that_runs_counts_as_far_as_its_curve_and_the_time_left_follows(record):
    """A few long trials, such as ensembles: the line moves before the first of them has ended."""
    text = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [10]\ntokens = [1e9, 3e9]\n'
    made = plan(parse(text))
    state = LaunchState()
    drawn = LaunchProgress(state)
    drawn.started(made, 0, ClusterInfo(address=None, nodes=(), slots=1))
    state.begin(2, 1)
    assert drawn.facts().startswith("0.0/min")
    group = max(made.groups, key=lambda one: one.cost.flops or 0)
    flops, steps, total = group.cost.flops, group.cost.steps, made.total("flops")
    assert flops
    assert steps
    assert total
    state.pack_started(Pack((group,), 1.0), 1.0)
    half = steps // 2
    state.recorded([CurvePoint(group.ids[0], half, tokens=1, train_loss=1.0, val_loss=None)])
    share = flops * half / steps / total
    drawn._began -= 60
    assert drawn.facts().startswith(f"{100 * share:.0f} % of the FLOPs · ")
    assert "left" in drawn.facts()


def test_the_facts_are_those_of_a_planted_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 of 50 attempts ended for good in 100 s, with 40 of 160 of the work: 300 s are left."""
    monkeypatch.setattr("sweeplaw.orchestrator.monitor.progress_bar.time.monotonic", lambda: 1000.0)
    state = LaunchState()
    drawn = LaunchProgress(state)
    drawn._began, drawn._finished, drawn._failures, drawn._best = 900.0, 50, 13, 2.34567
    drawn._work, drawn._total_work = 50.0, 160.0
    for _ in range(10):
        state.retried()
    assert drawn.facts() == "24.0/min · 5:00 left · best 2.3457 · 3 not completed"
    state.belief = "the law is steep"
    state.meter.lost(WastedWork("p", ("t",), 3723.0, "failed", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
    drawn._began, drawn._work = 941.0, 8.0  # 59 s, and 6.4 of 160
    assert "left" not in drawn.facts()
    drawn._work = 10.0  # 8 of 160
    assert "18:41 left" in drawn.facts()
    drawn._began, drawn._work = 940.0, 8.0
    assert "24:00 left" in drawn.facts()
    drawn._began, drawn._work = 975.0, 50.0
    drawn._best, drawn._open = None, True
    assert drawn.facts() == "1.6/s · 3 not completed · the law is steep · 1:02:03 of device time wasted"


def test_only_trials_that_complete_have_a_best_loss_and_pauses_are_no_failures(record: Any) -> None:
    drawn = LaunchProgress()
    states = {"completed": 2.5, "diverged": 1.0, "paused": 1.5, "failed": None}
    drawn.recorded([record(seed, state=state, loss=loss) for seed, (state, loss) in enumerate(states.items())])
    assert (drawn._best, drawn._failures, drawn._finished, drawn._work) == (2.5, 2, 4, 4.0)
    drawn.recorded([record(9, loss=2.25), record(8, loss=2.75)])
    assert drawn._best == 2.25


def test_without_a_terminal_a_line_is_printed_every_so_often(
    record: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("sweeplaw.orchestrator.monitor.progress_bar.time.monotonic", lambda: now[0])
    drawn = LaunchProgress()
    text = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [10, 20, 30]\ntokens = [50]\n'
    drawn.started(plan(parse(text)), 2, ClusterInfo(address=None, nodes=(), slots=1, note="one node is late"))
    assert capsys.readouterr().err.splitlines() == [
        "t: 3 trials on 1 slot, 2 already in the store", "one node is late"
    ]  # fmt: skip
    for passed in (1.0, progress_bar.PLAIN_SECONDS - 1.0, 1.0):
        now[0] += passed
        drawn.recorded([record(0, loss=2.5)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2/3 ")
    assert "best 2.5000" in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5.0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.0, "59:59"), (3600.0, "1:00:00"), (90061.0, "25:01:01")],
)
def test_a_clock_has_hours_only_where_there_are_some(seconds: float, text: str) -> None:
    assert progress_bar._clock(seconds) == text
