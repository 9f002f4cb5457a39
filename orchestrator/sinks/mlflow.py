"""MLflow sink: one experiment per sweep and one run per trial, written when the trial has ended."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sweeplaw.orchestrator.sinks.by_trial import CompleteTrialSink, numbers, results, settings
from sweeplaw.trials.record import CurvePoint, TrialRecord

# Limits of one `log_batch` call (MLflow's REST API).
BATCH_METRICS, BATCH_PARAMS, TEXT = 1000, 100, 500


class MLflow(CompleteTrialSink):
    """A sink to a tracking server or store; credentials come from MLflow's environment variables."""

    def __init__(self, place: str, sweep: str) -> None:
        from mlflow import MlflowClient

        super().__init__()
        self._client: Any = MlflowClient(tracking_uri=place)
        known = self._client.get_experiment_by_name(sweep)
        self._experiment = known.experiment_id if known else self._client.create_experiment(sweep)

    def write_trial(self, record: TrialRecord, points: Sequence[CurvePoint]) -> None:
        from mlflow.entities import Metric, Param

        outcome = record.outcome
        started, ended = (
            None if at is None else int(at.timestamp() * 1000) for at in (outcome.started_at, outcome.ended_at)
        )
        tags = {"trial_id": record.spec.trial_id, "state": outcome.state, "attempt": str(record.attempt)}
        if outcome.message:
            tags["message"] = outcome.message[:TEXT]
        run = self._client.create_run(self._experiment, started, tags, run_name=record.spec.trial_id).info.run_id
        at = ended or 0
        curve = [Metric(name, value, at, point.step) for point in points for name, value in numbers(point).items()]
        # Final numbers come last, because a run shows the last value of each name.
        metrics = [
            *curve,
            *(Metric(name, value, at, outcome.last_step or 0) for name, value in results(record).items()),
        ]
        params = [Param(name, str(value)[:TEXT]) for name, value in settings(record).items()]
        for part in _parts(metrics, BATCH_METRICS):
            self._client.log_batch(run, metrics=part)
        for part in _parts(params, BATCH_PARAMS):
            self._client.log_batch(run, params=part)
        status = "FINISHED" if outcome.state == "completed" else "FAILED"
        self._client.set_terminated(run, status, ended)


def _parts(items: Sequence[Any], size: int) -> list[list[Any]]:
    iterator = iter(items)
    return list(iter(lambda: list(itertools.islice(iterator, size)), []))
