"""The progress bar of a launch: finished of total, rate, time left, best loss so far, failures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.trials.quantities import counted, percent
from sweeplaw.trials.record import Row, TrialRecord

PLAIN_SECONDS = 15.0  # between two lines where there is no terminal
SETTLED_SHARE = 0.05  # of the work; before it, and before a minute, the start of the workers distorts the rate
SETTLED_SECONDS = 60.0
BAR_WIDTH = 80  # columns of the narrowest terminal with a bar


class _WholeLine(Progress):
    """Draws the facts of its task beside the bar, or below it on a terminal too narrow for both."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield everything there is to draw."""
        facts = [Text(task.fields["facts"]) for task in self.tasks if task.fields["facts"]]
        yield Columns([self.make_tasks_table(self.tasks), *facts])


class LaunchProgress:
    """Draws a launch on stderr (a `LaunchObserver`).

    Time left is by FLOPs where they are known, because large trials go first; of a trial that runs those up to the
    latest point of its curve count.
    """

    def __init__(self, launch_state: LaunchState | None = None) -> None:
        self._launch_state = launch_state or LaunchState()
        self._console = Console(file=getattr(sys.stderr, "drawing", None), stderr=True)  # it moves the cursor
        bar = [BarColumn()] if self._console.width >= BAR_WIDTH else []
        self._bar = _WholeLine(
            TextColumn("{task.description}", table_column=Column(overflow="fold")),
            *bar,
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("waiting for the cluster", total=None, facts="")
        self._finished, self._failures = 0, 0  # attempts
        self._best: float | None = None
        self._work, self._total_work, self._by_flops = 0.0, 0.0, False
        self._total, self._open = 0, False  # open: a search proposes the trials
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> LaunchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None:
        """Print the number of trials and slots, and begin the bar."""
        self._total, self._open = todo.trials, not todo.trials
        flops = todo.flops_to_train()
        self._by_flops = flops is not None
        self._total_work = float(todo.trials) if flops is None else flops
        self._began = time.monotonic()
        known = f", {already} already in the store" if already else ""
        trials = counted(todo.trials, "trial") if todo.trials else f"{todo.sweep.search.kind} search"
        self._console.print(f"{todo.sweep.name}: {trials} on {counted(cluster.slots, 'slot')}{known}", highlight=False)
        self._bar.update(self._task, description=todo.sweep.name, total=todo.trials or todo.sweep.budget.trials)
        if cluster.note:
            self._console.print(cluster.note, highlight=False)

    def recorded(self, rows: Sequence[Row]) -> None:
        """Count the trials that ended and update the bar."""
        for row in rows:
            if isinstance(row, TrialRecord):
                self._count(row)
        self._bar.update(self._task, completed=self._ended, facts=self.facts())
        if not self._console.is_terminal and time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            print(
                f"{self._ended}{f'/{self._total}' if self._total else ''} {self.facts()}", file=sys.stderr, flush=True
            )

    @property
    def _ended(self) -> int:
        """Trials that ended for good: an attempt that another follows ends none."""
        return self._finished - self._launch_state.retries

    def _count(self, record: TrialRecord) -> None:
        self._finished += 1
        self._work += _flops(record) if self._by_flops else 1.0
        self._failures += record.outcome.state not in ("completed", "paused")
        loss = record.outcome.metrics.get("val_loss")
        if record.outcome.state == "completed" and isinstance(loss, float):
            self._best = loss if self._best is None else min(self._best, loss)

    def facts(self) -> str:
        """Return rate, time left, best loss and failures, as far as they are known."""
        passed = time.monotonic() - self._began
        rate = self._ended / passed if passed > 0 else 0.0
        work = self._work * self._ended / max(1, self._finished)  # assumption: retries are like the rest
        work += self._launch_state.running_flops() if self._by_flops else 0.0
        if work and not self._ended and not self._open:
            pieces = [f"{percent(work / self._total_work, '.0f')} of the FLOPs"]
        else:
            pieces = [f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"]
        settled = work >= SETTLED_SHARE * self._total_work or passed >= SETTLED_SECONDS
        if work and settled and not self._open:
            pieces.append(f"{_clock(passed * (self._total_work / work - 1))} left")
        if self._best is not None:
            pieces.append(f"best {self._best:.4f}")
        pieces.append(f"{self._failures - self._launch_state.retries} not completed")  # only such are retried
        if self._launch_state.belief:
            pieces.append(self._launch_state.belief)
        if wasted := self._launch_state.meter.usage().wasted_seconds:
            pieces.append(f"{_clock(wasted)} of device time wasted")
        return " · ".join(pieces)


def _flops(record: TrialRecord) -> float:
    """Return the FLOPs of a trial, without those of the steps that a shorter one did for it."""
    taken_over = record.outcome.metrics.get("trunk_steps") or 0
    return (record.cost.flops or 0.0) * (1 - float(taken_over) / (record.cost.steps or 1))


def _clock(seconds: float) -> str:
    rounded = max(0, round(seconds))
    hours, minutes = divmod(rounded // 60, 60)
    return f"{hours}:{minutes:02}:{rounded % 60:02}" if hours else f"{minutes}:{rounded % 60:02}"
