"""W&B: a run a trial, grouped by sweep, written when the trial has ended.

`wandb.init` takes a second and a process a run, so a sweep of many short trials is better looked at elsewhere: what the
sink cannot keep up with is dropped and counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sweeplaw.orchestrator.sinks.by_trial import WholeTrials, numbers, results, settings
from sweeplaw.trials.record import CurvePoint, TrialRecord


class WandB(WholeTrials):
    """A sink to a W&B project; the key and the mode (online, offline) come from W&B's own environment variables."""

    def __init__(self, place: str, sweep: str) -> None:
        import wandb

        super().__init__()
        self._wandb: Any = wandb
        entity, _, self._project = place.rpartition("/")
        self._entity = entity or None
        self._sweep = sweep

    def show(self, record: TrialRecord, points: Sequence[CurvePoint]) -> None:
        # Nothing of this process: no console, no code, no machine metrics.
        quiet = self._wandb.Settings(
            silent=True, console="off", save_code=False, disable_git=True, x_disable_stats=True, x_disable_meta=True
        )
        run = self._wandb.init(
            project=self._project,
            entity=self._entity,
            group=self._sweep,
            job_type=record.spec.workload,
            name=record.spec.trial_id,
            config=settings(record),
            settings=quiet,
            reinit="create_new",
        )
        for point in sorted(points, key=lambda point: point.step):
            run.log(numbers(point), step=point.step)
        run.summary.update(results(record))
        run.summary.update({"state": record.outcome.state, "attempt": record.attempt})
        if record.outcome.message:
            run.summary["message"] = json.dumps(record.outcome.message)
        run.finish(exit_code=0 if record.outcome.state == "completed" else 1)
