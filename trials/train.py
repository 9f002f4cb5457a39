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

from trials.corpus import Budget
from trials.ensemble import evaluate
from trials.progress import Clock, Job, Running
from trials.record import CurvePoint, Outcome
from trials.stack import Floats, Recipe, Stack


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


def train(
    jobs: Sequence[Job], recipe: Recipe, points: Points, budget: Budget, held_out: Budget, device: str, clock: Clock
) -> Generator[CurvePoint | Outcome, None, None]:
    """Train the jobs, which have equally many members: curve points as they come, one outcome each.

    Closing the iterator stops it.
    """
    size = len(jobs[0].members)
    live = [Running(job, recipe, slice(i * size, (i + 1) * size), clock) for i, job in enumerate(jobs)]
    members = [member for job in jobs for member in job.members]
    groups = [[member] for member in members] if device == "cpu" else [members]
    stacks = [Stack(group, recipe, budget, device) for group in groups]
    validation = torch.from_numpy(held_out.read(np.arange(held_out.size)))
    for point in points.curve:
        losses, norms = _advance(stacks, point)
        for trial in live:
            trial.extend(losses, norms)
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
        yield trial.completed()


def _advance(stacks: Sequence[Stack], point: int) -> tuple[Floats, Floats]:
    """Losses and gradient norms of all members up to ``point``: (steps, members) each.

    A stack whose members have all diverged stops early, and the other stacks, members of the same ensemble, with it.
    """
    parts = []
    for stack in stacks:
        parts.append(stack.advance(point))
        point = stack.step
    losses, norms = ([part[i][: len(parts[-1][i])] for part in parts] for i in (0, 1))
    return np.concatenate(losses, axis=1), np.concatenate(norms, axis=1)
