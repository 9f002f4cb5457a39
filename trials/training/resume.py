"""Checkpoints of a pack in training: when they are written, their content, and resuming from them.

A run is random only through its seeds, so weights, moments and the number of updates are the complete state; on a CPU
a resumed trial ends with the bits it would have had. The points of the curve are stored too and yielded again under the
new attempt, so that the curve of the last attempt, which is the one that counts, is complete.

While it is written, the state of a member takes 12 bytes a parameter of host memory in the first process, twice that if
members are stacked. Reading maps the file into memory, which the processes of a node share; stacked members are copied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from sweeplaw.trials.record import CurvePoint
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup
from sweeplaw.trials.training.evaluation.ensemble import EnsembleEvaluation
from sweeplaw.trials.training.stack import CURVES, Stack, history
from sweeplaw.trials.training.trial import TrialInProgress
from sweeplaw.trials.workload import never_preempted

_PER_ATTEMPT = ("trial_id", "attempt")  # fields of a point that the attempt that yields it again sets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BranchPoint:
    """Where another trial goes on: after ``steps`` updates. ``identity`` is the run its checkpoint must belong to."""

    steps: int
    trial_id: str
    identity: str


class Checkpointer:
    """Schedule and destination of a pack's checkpoints.

    ``identities`` maps each trial to the run that its checkpoint must belong to. ``branches`` maps those of them whose
    first updates another trial shares to where that one goes on; it finds the state in ``trunks``. After `pause`,
    ``requested`` is whether to stop for a checkpoint, because one is due or because training is ``ending``. All
    processes of ``group`` get the same answers.
    """

    def __init__(
        self,
        folder: str | None = None,
        seconds: float = float("inf"),
        end: Callable[[], bool] = never_preempted,
        identities: Mapping[str, str] | None = None,
        group: ProcessGroup = ALONE,
        branches: Mapping[str, BranchPoint] = MappingProxyType({}),
        trunks: str = "",
    ) -> None:
        self.requested = self.ending = False
        self._branches, self._trunks = branches, trunks
        self._folder, self._seconds, self._end, self._group = folder, seconds, end, group
        self._identities = identities or {}
        self._written = time.monotonic()

    def pause(self) -> bool:
        """Return whether training should pause for a checkpoint or end now."""
        due = self._folder is not None and time.monotonic() - self._written >= self._seconds
        self.ending, due = self._group.any(self._end(), due)
        self.requested = self.ending or due
        return self.requested

    def save(self, trials: Sequence[TrialInProgress], stacks: Sequence[Stack]) -> str | None:
        """Write the state of these trials; return why one could not be written, if any, which is logged."""
        self.requested = False
        if self._folder is None:
            return "there is nowhere to leave a checkpoint"
        states = [state for stack in stacks if (state := stack.state()) is not None]  # only in the first process
        error_message = None
        for trial in trials if states else ():
            trial_id = trial.group.trial_id
            try:
                checkpoint.save(self._folder, trial_id, self._identities[trial_id], _saved(trial, states))
            except OSError as error:
                error_message = f"its checkpoint cannot be written: {error}"
                _log.warning("trial %s: %s", trial_id, error_message)
        self._written = time.monotonic()
        return error_message

    def branch_points(self) -> set[int]:
        """Return the numbers of updates after which other trials go on."""
        return {branch.steps for branch in self._branches.values()}

    def branch(self, trials: Sequence[TrialInProgress], stacks: Sequence[Stack], step: int) -> None:
        """Leave the state of those trials of which another goes on after ``step`` updates as a checkpoint of that one.

        One that has a checkpoint to go on from keeps it. What cannot be written is logged: the other trial begins at
        its beginning.
        """
        branching = [trial for trial in trials if self._at(trial, step)]
        if not branching or any(stack.step != step for stack in stacks):
            return
        states = [state for stack in stacks if (state := stack.state()) is not None]
        for trial in branching if states else ():
            branch = self._branches[trial.group.trial_id]
            try:
                if checkpoint.load(self._trunks, branch.trial_id, branch.identity) is None:
                    saved = _saved(trial, states, trunk_steps=step)
                    checkpoint.save(self._trunks, branch.trial_id, branch.identity, saved)
            except OSError as error:
                _log.warning("trial %s cannot go on from the trunk it shares: %s", branch.trial_id, error)

    def _at(self, trial: TrialInProgress, step: int) -> bool:
        branch = self._branches.get(trial.group.trial_id)
        return branch is not None and branch.steps == step


def steps_done(saved: Saved | None) -> tuple[int, ...]:
    """Return the updates done of each member of a trial; empty without a checkpoint."""
    return () if saved is None else tuple(len(row["losses"]) for row in _members(saved))


def restore(
    trials: Sequence[TrialInProgress], stacks: Sequence[Stack], checkpoints: dict[str, Saved]
) -> list[CurvePoint]:
    """Restore these trials from their checkpoints; return the curve points that were reported before.

    All members of one stack have done the same number of updates. ``checkpoints`` is emptied, so that the state is not
    held a second time during training.
    """
    members = iter([row for trial in trials for row in _members(checkpoints[trial.group.trial_id])])
    for stack in stacks:
        rows = [next(members) for _ in stack.members]
        state = {name: _stack([row[name] for row in rows]) for name in rows[0] if name not in CURVES}
        stack.resume(state | {name: torch.stack([row[name] for row in rows], dim=1) for name in CURVES})
    for trial in trials:
        saved = checkpoints[trial.group.trial_id]
        trial.points = [CurvePoint(trial.group.trial_id, **point) for point in saved.note["points"]]
        trial.reported_steps = trial.points[-1].step if trial.points else 0
        trial.extend(*history(stacks, 0, trial.reported_steps))
        evaluation = saved.note["evaluation"]
        trial.evaluation = EnsembleEvaluation(**evaluation) if evaluation else None
        trial.resumed_step = min(steps_done(saved))
        trial.trunk_steps = saved.note.get("trunk_steps", 0)
    checkpoints.clear()
    return sorted((point for trial in trials for point in trial.points), key=lambda point: point.step)


def _saved(trial: TrialInProgress, states: Sequence[Mapping[str, Tensor]], trunk_steps: int | None = None) -> Saved:
    """Return one trial's part of all stacks' states, member by member: they may be at different updates.

    ``trunk_steps`` are those that the trial it is for takes over from another, by default the trial's own.
    """
    members = [(state, column) for state in states for column in range(len(state["weights"]))]
    tensors: dict[str, Tensor] = {}
    for i, (state, column) in enumerate(members[trial.rows]):
        tensors |= {f"{name}.{i}": state[name][column] for name in state if name not in CURVES}
        tensors |= {f"{name}.{i}": state[name][:, column] for name in CURVES}
    points = [
        {name: value for name, value in asdict(point).items() if name not in _PER_ATTEMPT} for point in trial.points
    ]
    evaluation = trial.evaluation and asdict(trial.evaluation)
    taken_over = trial.trunk_steps if trunk_steps is None else trunk_steps
    return Saved(tensors, {"points": points, "evaluation": evaluation, "trunk_steps": taken_over})


def _stack(rows: Sequence[Tensor]) -> Tensor:
    """Stack rows along a new first axis, without copying a single one."""
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(list(rows))


def _members(saved: Saved) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors of each member, in order."""
    names = [name.removesuffix(".0") for name in saved.tensors if name.endswith(".0")]
    i = 0
    while f"weights.{i}" in saved.tensors:
        yield {name: saved.tensors[f"{name}.{i}"] for name in names}
        i += 1
