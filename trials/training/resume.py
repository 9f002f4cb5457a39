"""How training that was stopped goes on where it was: when a pack writes its state, what is in it, and putting it back.

Nothing in a run is random but what its seeds decide, so weights, moments and the number of updates are all there is to
put back; on a CPU a resumed trial ends with the bits it would have had. The rows of the curve come along and are told
again under the new attempt, so that the curve of the last attempt, which is the one that counts, is whole.

The state of a member is 12 bytes a parameter of host memory in the first process while it is written, twice that where
members are stacked. Whoever takes it up reads the file as a map, which the processes of a node share; members that are
stacked are copied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from sweeplaw.trials.record import CurvePoint
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup
from sweeplaw.trials.training.ensemble import EnsembleEvaluation
from sweeplaw.trials.training.stack import Stack, history
from sweeplaw.trials.training.trial import TrialInProgress
from sweeplaw.trials.workload import never_preempted

STATE = ("weights", "first", "second")
CURVES = ("losses", "norms")

_log = logging.getLogger(__name__)


class Checkpointer:
    """When and where a pack in training leaves its state.

    ``identities`` says of each trial what its checkpoint must be of. ``wanted``: a checkpoint is due, or the end has
    come, which ``ending`` tells apart. All processes of ``group`` come to the same answer.
    """

    def __init__(
        self,
        folder: str | None = None,
        seconds: float = float("inf"),
        end: Callable[[], bool] = never_preempted,
        identities: Mapping[str, str] | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.wanted = self.ending = False
        self._folder, self._seconds, self._end, self._group = folder, seconds, end, group
        self._identities = identities or {}
        self._written = time.monotonic()

    def pause(self) -> bool:
        """Whether training should pause for the keeper now."""
        due = self._folder is not None and time.monotonic() - self._written >= self._seconds
        self.ending, due = self._group.any(self._end(), due)
        self.wanted = self.ending or due
        return self.wanted

    def save(self, live: Sequence[TrialInProgress], stacks: Sequence[Stack]) -> str | None:
        """Write the state of these trials. A checkpoint that cannot be written is told of, and training goes on."""
        self.wanted = False
        if self._folder is None:
            return "there is nowhere to leave a checkpoint"
        states = [state for stack in stacks if (state := stack.state()) is not None]  # none but in the first process
        fault = None
        for trial in live if states else ():
            trial_id = trial.job.trial_id
            try:
                checkpoint.save(self._folder, trial_id, self._identities[trial_id], _saved(trial, states))
            except OSError as error:
                fault = f"its checkpoint cannot be written: {error}"
                _log.warning("trial %s: %s", trial_id, fault)
        self._written = time.monotonic()
        return fault

    def forget(self, trial_id: str) -> None:
        """The trial has ended: nothing goes on from its checkpoint."""
        if self._folder is not None and self._group.rank == 0:
            checkpoint.remove(self._folder, trial_id)


def updates(saved: Saved | None) -> tuple[int, ...]:
    """Updates done of each member of a trial; empty for one that starts anew."""
    return () if saved is None else tuple(len(row["losses"]) for row in _members(saved))


def put_back(live: Sequence[TrialInProgress], stacks: Sequence[Stack], found: dict[str, Saved]) -> list[CurvePoint]:
    """Take up these trials where their checkpoints left them; returns the rows of the curve that they had told.

    All members of one stack have done equally many updates. ``found`` is empty afterwards: whoever else has it would
    hold the state a second time for as long as training lasts.
    """
    members = iter([row for trial in live for row in _members(found[trial.job.trial_id])])
    for stack in stacks:
        rows = [next(members) for _ in stack.members]
        state = {name: _stacked([row[name] for row in rows]) for name in STATE}
        stack.resume(state | {name: torch.stack([row[name] for row in rows], dim=1) for name in CURVES})
    for trial in live:
        note = found[trial.job.trial_id].note
        trial.points = [CurvePoint(trial.job.trial_id, **point) for point in note["points"]]
        trial.told = trial.points[-1].step if trial.points else 0
        trial.extend(*history(stacks, 0, trial.told))
        trial.evaluation = EnsembleEvaluation(**note["evaluation"]) if note["evaluation"] else None
        trial.resumed = min(updates(found[trial.job.trial_id]))
    found.clear()
    return sorted((point for trial in live for point in trial.points), key=lambda point: point.step)


def _saved(trial: TrialInProgress, states: Sequence[Mapping[str, Tensor]]) -> Saved:
    """One trial's share of the states of all stacks: member by member, because they may be at different updates."""
    everyone = [(state, column) for state in states for column in range(len(state["weights"]))]
    tensors: dict[str, Tensor] = {}
    for i, (state, column) in enumerate(everyone[trial.rows]):
        tensors |= {f"{name}.{i}": state[name][column] for name in STATE}
        tensors |= {f"{name}.{i}": state[name][:, column] for name in CURVES}
    points = [
        {name: value for name, value in asdict(point).items() if name not in _OF_THE_ROW} for point in trial.points
    ]
    return Saved(tensors, {"points": points, "evaluation": trial.evaluation and asdict(trial.evaluation)})


_OF_THE_ROW = ("trial_id", "attempt")  # the attempt that tells a point again is another


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Along a new first axis; one row is not copied."""
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(list(rows))


def _members(saved: Saved) -> Iterator[dict[str, Tensor]]:
    """What is kept of each member, in order."""
    i = 0
    while f"weights.{i}" in saved.tensors:
        yield {name: saved.tensors[f"{name}.{i}"] for name in (*STATE, *CURVES)}
        i += 1
