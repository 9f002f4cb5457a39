"""TensorBoard sink: one run per trial under DIR/SWEEP, curves as they arrive, settings (hyperparameters) at the end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.sinks.by_trial import numbers, results, settings
from sweeplaw.trials.record import CurvePoint, Row, TrialRecord

OPEN_FILES = 64  # open event files; a closed run continues in a second file


class TensorBoard:
    """A sink to event files, written by tensorboardX, a dependency of Ray Tune."""

    def __init__(self, place: str, sweep: str) -> None:
        from tensorboardX import SummaryWriter

        self._make: Any = SummaryWriter
        self._folder = Path(place).expanduser() / sweep
        self._folder.mkdir(parents=True, exist_ok=True)  # fail at the start if it is not writable
        self._open: OrderedDict[str, Any] = OrderedDict()

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row, CurvePoint):
                writer = self._writer(row.trial_id)
                for name, value in numbers(row).items():
                    writer.add_scalar(name, value, row.step)
            else:
                self._ended(row)

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()
        self._open.clear()

    def _ended(self, record: TrialRecord) -> None:
        from tensorboardX.summary import hparams

        writer = self._writer(record.spec.trial_id)
        metrics = results(record)
        step = record.outcome.last_step or 0
        for summary in hparams({**settings(record), "state": record.outcome.state}, metrics):
            writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            writer.add_scalar(f"final/{name}", value, step)
        if record.outcome.message:
            writer.add_text("message", record.outcome.message, step)
        self._open.pop(record.spec.trial_id).close()

    def _writer(self, trial_id: str) -> Any:
        if trial_id not in self._open:
            self._open[trial_id] = self._make(str(self._folder / trial_id))
        self._open.move_to_end(trial_id)
        if len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return self._open[trial_id]
