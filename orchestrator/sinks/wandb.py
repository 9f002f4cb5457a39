"""W&B sink: one run per trial, grouped by sweep, written when the trial has ended.

`wandb.init` takes a second and a process per run, so this sink does not suit many short trials: rows it cannot keep up
with are dropped and counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sweeplaw.orchestrator.sinks.by_trial import CompleteTrialSink, numbers, results, settings
from sweeplaw.trials.record import CurvePoint, TrialRecord


class WandB(CompleteTrialSink):
    """A sink to a W&B project; the key and the mode (online, offline) come from W&B's environment variables."""

    def __init__(self, place: str, sweep: str) -> None:
        import wandb

        super().__init__()
        self._wandb: Any = wandb
        entity, _, self._project = place.rpartition("/")
        self._entity = entity or None
        self._sweep = sweep

    def write_trial(self, record: TrialRecord, points: Sequence[CurvePoint]) -> None:
        # Upload nothing about this process: no console, no code, no machine metrics.
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
