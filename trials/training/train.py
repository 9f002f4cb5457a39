"""The training loop: a few trials that differ only in per-member values, from initialization to their outcomes.

On an accelerator all members of all trials run as one stack. On a CPU core stacking does not pay (0.6-1.2x,
measured), so each member is a stack of its own; the members of an ensemble then take turns between two points of the
curve, because its loss needs the logits of all of them. All randomness comes from the members' seeds.
"""

from __future__ import annotations

import functools
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
from sweeplaw.trials.training.trial import Clock, MemberGroup, ReportedSteps, TrialInProgress


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
    points: Sequence[ReportedSteps],
    data: Data,
    device: TrainingDevice,
    clock: Clock,
    checkpointer: Checkpointer | None = None,
    checkpoints: dict[str, Saved] | None = None,
    saver: WeightSaver | None = None,
) -> Generator[CurvePoint | Outcome, None, None]:
    """Train the trials, which have the same number of members; yield curve points and one outcome for each.

    ``points`` are those of each trial, which ends at its last one; the steps of the recipe are those of the longest.
    ``checkpoints`` has one of every trial or none, and is emptied. The points that they contain are yielded again
    first. ``saver`` keeps their weights. Closing the iterator stops training. Raise PeerLost.
    """
    checkpointer, saver = checkpointer or Checkpointer(), saver or WeightSaver()
    size = len(groups[0].members)
    active = [
        TrialInProgress(group, recipe, slice(i * size, (i + 1) * size), clock, own)
        for i, (group, own) in enumerate(zip(groups, points, strict=True))
    ]
    stacks = _stacks(groups, recipe, data, device)
    if checkpoints:
        yield from restore(active, stacks, checkpoints)
    validation = torch.from_numpy(data.held_out.read(np.arange(data.held_out.size)))
    done = min(stack.step for stack in stacks)
    branching = {step for step in checkpointer.branch_points() if step >= done}
    while active:
        stop = min({trial.next_point for trial in active} | branching)
        done = _advance(stacks, stop, checkpointer)
        for trial in active:
            trial.extend(*history(stacks, len(trial.losses), done))
        yield from (trial.diverged() for trial in active if trial.diverged_at is not None)
        active = _left(active, stacks)
        if checkpointer.requested and active:
            error_message = checkpointer.save(active, stacks)
            if checkpointer.ending:
                yield from (trial.preempted(_steps_done(trial, stacks), error_message) for trial in active)
                return
        elif done >= stop:
            branching.discard(stop)
            checkpointer.branch(active, stacks, stop)
            yield from _reported(active, stacks, done, validation, saver)
            active = _left(active, stacks)


def _reported(
    active: Sequence[TrialInProgress], stacks: Sequence[Stack], step: int, validation: Tensor, saver: WeightSaver
) -> Generator[CurvePoint | Outcome, None, None]:
    """Yield the curve points at ``step`` of the trials that have one, and the outcomes of those that end there.

    A trial that goes on from a trunk reports there too what it would have before.
    """
    reporting = [trial for trial in active if trial.next_point <= step]
    evaluated = {trial.group.trial_id for trial in reporting if trial.evaluates(step)}
    if evaluated:
        size = len(reporting[0].group.members)
        evaluations = evaluate(stacks, validation, size, subsets=any(trial.steps == step for trial in reporting))
        evaluating = [trial for trial in reporting if trial.group.trial_id in evaluated]
        for trial in evaluating:
            trial.add_evaluation(evaluations[trial.rows.start // size])
        saver.snapshot(evaluating, stacks)
    for trial in reporting:
        done = trial.diverged_at is not None
        yield trial.diverged() if done else trial.point(evaluated=trial.group.trial_id in evaluated)
    completed = [trial for trial in reporting if trial.diverged_at is None and trial.steps == step]
    messages = saver.keep(completed, stacks) if completed else {}
    for trial in completed:
        yield trial.completed(len(stacks[0].micro_batches), messages.get(trial.group.trial_id))


def _left(trials: Sequence[TrialInProgress], stacks: list[Stack]) -> list[TrialInProgress]:
    """Return the trials that go on. Members of those that have diverged are frozen.

    Where others have completed, the stacks shrink to the members that go on. Only then: a product of fewer members may
    round differently on an accelerator, so that others would depend on whether one diverges.
    """
    left = [trial for trial in trials if trial.diverged_at is None and trial.reported_steps < trial.steps]
    if not left or len(left) == len(trials):
        return left
    shrink = any(trial.diverged_at is None and trial.reported_steps == trial.steps for trial in trials)
    training = {row for trial in left for row in range(trial.rows.start, trial.rows.stop)}
    kept: list[int] = []
    begin = 0
    for stack in [*stacks]:
        rows = range(begin, begin + len(stack.members))
        begin = rows.stop
        own = [row for row in rows if row in training]
        if not own:
            stacks.remove(stack)
        elif shrink and len(own) < len(rows):
            stack.keep([row - rows.start for row in own])
            kept += own
        else:
            if len(own) < len(rows):
                stack.freeze([row - rows.start for row in rows if row not in training])
            kept += rows
    for trial in left:
        first = kept.index(trial.rows.start)
        trial.rows = slice(first, first + len(trial.group.members))
    return left


def _stacks(groups: Sequence[MemberGroup], recipe: Recipe, data: Data, device: TrainingDevice) -> list[Stack]:
    """Return one stack of all members; on a CPU one of each member."""
    members = [member for group in groups for member in group.members]
    numbers = list(range(len(members)))
    stacked = [numbers] if device.stacked else [[number] for number in numbers]
    stacks = []
    for own in stacked:
        stack = Stack([members[number] for number in own], recipe, data.budget, device, data.soft_labels)
        if data.initial is not None:
            stack.begin_from(data.initial[[number % len(data.initial) for number in own]])
        stacks.append(stack)
    return stacks


def _advance(stacks: Sequence[Stack], stop: int, checkpointer: Checkpointer) -> int:
    """Train until step ``stop``; return the number of updates done by all members.

    It is less if the checkpointer requested a pause, or if a member diverged: its stack stops there, and with it the
    others, which are members of the same ensemble.
    """

    def pause(stack: Stack, diverged: int) -> bool:
        requested = checkpointer.pause()
        return requested or int(stack.diverged.sum()) > diverged

    for stack in stacks:
        stack.advance(stop, functools.partial(pause, stack, int(stack.diverged.sum())))
        if checkpointer.requested:
            break
        stop = stack.step
    return min(stack.step for stack in stacks)


def _steps_done(trial: TrialInProgress, stacks: Sequence[Stack]) -> int:
    """Return the number of updates that all members of a trial have done."""
    by_member = [stack.step for stack in stacks for _ in stack.members]
    return min(by_member[trial.rows])
