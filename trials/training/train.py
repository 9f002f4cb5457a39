"""The one training loop: a few trials that differ only in per-member values, from initialization to their outcomes.

On an accelerator all members of all trials run as one stack. On a CPU core stacking does not pay (0.6-1.2x,
measured), so each member is a stack of its own; the members of an ensemble then take turns between two points of the
curve, because its loss needs the logits of all of them. Everything random comes from the members' seeds.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sweeplaw.trials.corpus import DataBudget
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.training.ensemble import evaluate
from sweeplaw.trials.training.resume import Checkpointer, put_back
from sweeplaw.trials.training.stack import Recipe, Stack, TrainingDevice, history
from sweeplaw.trials.training.trial import Clock, MemberGroup, TrialInProgress


@dataclass(frozen=True, slots=True)
class Points:
    """The steps that get a row of the curve, and those of them at which validation loss is measured."""

    curve: tuple[int, ...]
    evaluations: frozenset[int]

    @classmethod
    def evenly(cls, steps: int, *, curve: int, evaluations: int) -> Points:
        """So many evenly spaced steps of each kind, the last step in both; fewer when the run is shorter."""
        measured = frozenset(max(1, round(steps * (i + 1) / evaluations)) for i in range(evaluations))
        rows = {max(1, round(steps * (i + 1) / curve)) for i in range(curve)}
        return cls(tuple(sorted(rows | measured)), measured)


@dataclass(frozen=True, slots=True)
class Data:
    """What a pack trains on, and the windows its validation loss is measured on."""

    budget: DataBudget
    held_out: DataBudget


def train(
    jobs: Sequence[MemberGroup],
    recipe: Recipe,
    points: Points,
    data: Data,
    place: TrainingDevice,
    clock: Clock,
    keeper: Checkpointer | None = None,
    found: dict[str, Saved] | None = None,
) -> Generator[CurvePoint | Outcome, None, None]:
    """Train the jobs, which have equally many members: curve points as they come, one outcome each.

    ``found`` are the checkpoints of all of them, or nothing, and is emptied. The points that were told before they
    were written come again first. Closing the iterator stops it. Raises PeerLost.
    """
    keeper = keeper or Checkpointer()
    size = len(jobs[0].members)
    live = [TrialInProgress(job, recipe, slice(i * size, (i + 1) * size), clock) for i, job in enumerate(jobs)]
    members = [member for job in jobs for member in job.members]
    groups = [[member] for member in members] if place.device == "cpu" else [members]
    stacks = [Stack(group, recipe, data.budget, place) for group in groups]
    if found:
        yield from put_back(live, stacks, found)
    validation = torch.from_numpy(data.held_out.read(np.arange(data.held_out.size)))
    for point in (point for point in points.curve if point > live[0].told):
        while not _reached(stacks, point, keeper):
            fault = keeper.save(live, stacks)
            if keeper.ending:
                yield from (trial.preempted(_step(trial, stacks), fault) for trial in live)
                return
        step = min(stack.step for stack in stacks)
        rows = history(stacks, live[0].told, step)
        for trial in live:
            trial.extend(*rows)
        evaluated = point in points.evaluations and any(trial.diverged_at is None for trial in live)
        if evaluated:
            evaluations = evaluate(stacks, validation, size)
            for trial in live:
                trial.measured(evaluations[trial.rows.start // size])
        for trial in live:
            yield trial.point(evaluated=evaluated) if trial.diverged_at is None else trial.diverged()
        live = [trial for trial in live if trial.diverged_at is None]
        if not live:
            return
    for trial in live:
        yield trial.completed(micro_batches=len(stacks[0].shares))


def _reached(stacks: Sequence[Stack], point: int, keeper: Checkpointer) -> bool:
    """Train on towards ``point``; whether all stacks are there, or False because the keeper asked for a pause.

    A stack whose members have all diverged stops early, and the other stacks, members of the same ensemble, with it.
    """
    for stack in stacks:
        stack.advance(point, keeper.pause)
        if keeper.wanted:
            return False
        point = stack.step
    return True


def _step(trial: TrialInProgress, stacks: Sequence[Stack]) -> int:
    """Updates that all members of a trial have done."""
    everyone = [stack.step for stack in stacks for _ in stack.members]
    return min(everyone[trial.rows])
