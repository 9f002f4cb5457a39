"""The training loop: a few trials that differ only in per-member values, from initialization to their outcomes.

On an accelerator all members of all trials run as one stack. On a CPU core stacking does not pay (0.6-1.2x,
measured), so each member is a stack of its own; the members of an ensemble then take turns between two points of the
curve, because its loss needs the logits of all of them. All randomness comes from the members' seeds.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweeplaw.trials.corpus import DataBudget
from sweeplaw.trials.corpus.order import Mixture
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.training.distillation import SoftLabels
from sweeplaw.trials.training.evaluation.ensemble import evaluate
from sweeplaw.trials.training.keeping import WeightSaver
from sweeplaw.trials.training.recipe import Recipe, TrainingDevice
from sweeplaw.trials.training.resume import Checkpointer, restore
from sweeplaw.trials.training.stack import Stack, history
from sweeplaw.trials.training.trial import Clock, MemberGroup, TrialInProgress


@dataclass(frozen=True, slots=True)
class ReportedSteps:
    """Steps at which a curve point is reported, and those of them at which the validation loss is measured."""

    curve: tuple[int, ...]
    evaluations: frozenset[int]

    @classmethod
    def evenly(cls, steps: int, *, curve: int, evaluations: int) -> ReportedSteps:
        """Return evenly spaced steps, including the last; a short run has fewer of each than requested."""
        evaluated = frozenset(max(1, round(steps * (i + 1) / evaluations)) for i in range(evaluations))
        reported = {max(1, round(steps * (i + 1) / curve)) for i in range(curve)}
        return cls(tuple(sorted(reported | evaluated)), evaluated)


@dataclass(frozen=True, slots=True)
class Data:
    """Training windows of a pack, the windows on which its validation loss is measured, and what teachers say.

    ``initial`` are the weights that the members of a trial begin with, (members or 1, parameters); None draws them.
    """

    budget: DataBudget | Mixture
    held_out: DataBudget
    soft_labels: SoftLabels | None = None
    initial: Tensor | None = None


def train(
    groups: Sequence[MemberGroup],
    recipe: Recipe,
    points: ReportedSteps,
    data: Data,
    device: TrainingDevice,
    clock: Clock,
    checkpointer: Checkpointer | None = None,
    checkpoints: dict[str, Saved] | None = None,
    saver: WeightSaver | None = None,
) -> Generator[CurvePoint | Outcome, None, None]:
    """Train the trials, which have the same number of members; yield curve points and one outcome for each.

    ``checkpoints`` has one of every trial or none, and is emptied. The points that they contain are yielded again
    first. ``saver`` keeps their weights. Closing the iterator stops training. Raise PeerLost.
    """
    checkpointer, saver = checkpointer or Checkpointer(), saver or WeightSaver()
    size = len(groups[0].members)
    active = [TrialInProgress(group, recipe, slice(i * size, (i + 1) * size), clock) for i, group in enumerate(groups)]
    stacks = _stacks(groups, recipe, data, device)
    if checkpoints:
        yield from restore(active, stacks, checkpoints)
    validation = torch.from_numpy(data.held_out.read(np.arange(data.held_out.size)))
    curve = {point for point in points.curve if point > active[0].reported_steps}
    done = min(stack.step for stack in stacks)
    for point in sorted(curve | {step for step in checkpointer.branch_points() if step >= done}):
        while not _reached(stacks, point, checkpointer):
            error_message = checkpointer.save(active, stacks)
            if checkpointer.ending:
                yield from (trial.preempted(_steps_done(trial, stacks), error_message) for trial in active)
                return
        checkpointer.branch(active, stacks, point)
        if point not in curve:
            continue
        updates = history(stacks, active[0].reported_steps, min(stack.step for stack in stacks))
        for trial in active:
            trial.extend(*updates)
        evaluated = point in points.evaluations and any(trial.diverged_at is None for trial in active)
        if evaluated:
            evaluations = evaluate(stacks, validation, size, subsets=point == points.curve[-1])
            for trial in active:
                trial.add_evaluation(evaluations[trial.rows.start // size])
            saver.snapshot(active, stacks)
        for trial in active:
            yield trial.point(evaluated=evaluated) if trial.diverged_at is None else trial.diverged()
        active = [trial for trial in active if trial.diverged_at is None]
        if not active:
            return
    messages = saver.keep(active, stacks)
    for trial in active:
        yield trial.completed(len(stacks[0].micro_batches), messages.get(trial.group.trial_id))


def _stacks(groups: Sequence[MemberGroup], recipe: Recipe, data: Data, device: TrainingDevice) -> list[Stack]:
    """Return one stack of all members; on a CPU one of each member."""
    members = [member for group in groups for member in group.members]
    numbers = list(range(len(members)))
    stacked = [[number] for number in numbers] if device.type == "cpu" else [numbers]
    stacks = []
    for own in stacked:
        stack = Stack([members[number] for number in own], recipe, data.budget, device, data.soft_labels)
        if data.initial is not None:
            stack.begin_from(data.initial[[number % len(data.initial) for number in own]])
        stacks.append(stack)
    return stacks


def _reached(stacks: Sequence[Stack], point: int, checkpointer: Checkpointer) -> bool:
    """Train until step ``point``; return False if the checkpointer requested a pause before.

    A stack whose members have all diverged stops early, and with it the other stacks, members of the same ensemble.
    """
    for stack in stacks:
        stack.advance(point, checkpointer.pause)
        if checkpointer.requested:
            return False
        point = stack.step
    return True


def _steps_done(trial: TrialInProgress, stacks: Sequence[Stack]) -> int:
    """Return the number of updates that all members of a trial have done."""
    by_member = [stack.step for stack in stacks for _ in stack.members]
    return min(by_member[trial.rows])
