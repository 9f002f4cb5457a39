"""A trial in training: the measurements so far, and the curve points and outcome they become."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import Value
from sweeplaw.trials.training.evaluation.ensemble import EnsembleEvaluation
from sweeplaw.trials.training.recipe import Member, Recipe
from sweeplaw.trials.training.stack import Floats, is_diverged


@dataclass(frozen=True, slots=True)
class Clock:
    """Start of a pack, and the number of trials ``sharing`` its device: each is charged an equal share of the time."""

    sharing: int
    began_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    began: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """Return one trial's share of the wall seconds since the pack began."""
        return (time.perf_counter() - self.began) / self.sharing


@dataclass(frozen=True, slots=True)
class MemberGroup:
    """The members of one trial, with the same settings except the seed. More than one form an ensemble."""

    trial_id: str
    members: tuple[Member, ...]


@dataclass
class TrialInProgress:
    """One trial in training; ``rows`` are its members among all members of the pack."""

    group: MemberGroup
    recipe: Recipe
    rows: slice
    clock: Clock
    diverged_at: int | None = None
    evaluation: EnsembleEvaluation | None = None
    losses: list[Floats] = field(default_factory=list)  # (members,) of each update
    norms: list[Floats] = field(default_factory=list)
    reported_steps: int = 0  # updates covered by the points reported so far
    points: list[CurvePoint] = field(default_factory=list)  # reported so far
    resumed_step: int = 0  # updates done before this attempt
    trunk_steps: int = 0  # of them, taken over from another trial

    @property
    def divergence_loss(self) -> float:
        """Loss in nats a token above which the trial has diverged."""
        return self.group.members[0].divergence_loss

    def extend(self, losses: Floats, norms: Floats) -> None:
        """Add the updates since the last call, (steps, all members) each, and find the first that diverged."""
        bad = np.flatnonzero(is_diverged(losses[:, self.rows], self.divergence_loss).any(axis=1))
        if len(bad):
            self.diverged_at = len(self.losses) + int(bad[0]) + 1
        self.losses.extend(losses[:, self.rows])
        self.norms.extend(norms[:, self.rows])

    def add_evaluation(self, evaluation: EnsembleEvaluation) -> None:
        """Set the evaluation after the last update."""
        self.evaluation = evaluation
        if self.diverged_at is None and is_diverged(np.array(evaluation.loss), self.divergence_loss):
            self.diverged_at = len(self.losses)

    def point(self, *, evaluated: bool) -> CurvePoint:
        """Report the curve point at the last update; ``evaluated`` is whether its validation loss was measured."""
        step, first, member = len(self.losses), self.reported_steps, self.group.members[0]
        self.reported_steps = step
        point = CurvePoint(
            self.group.trial_id,
            step,
            tokens=step * self.recipe.batch_tokens,
            train_loss=float(np.mean(self.losses[first:])),
            val_loss=self.evaluation.loss if self.evaluation and evaluated else None,
            lr=member.lr_at(step - 1),
            grad_norm=float(np.mean(self.norms[-1])),
            metrics=self._member_loss() if evaluated else {},
        )
        self.points.append(point)
        return point

    def completed(self, micro_batches: int, message: str | None = None) -> Outcome:
        """Return the outcome after the last step; each step had ``micro_batches`` micro-batches.

        ``train_loss`` is the mean over the last tenth of the run. Time and tokens per second are of this attempt.
        """
        tenth = max(1, len(self.losses) // 10)
        tokens = (len(self.losses) - self.resumed_step) * self.recipe.batch_tokens * len(self.group.members)
        metrics: dict[str, Value | None] = {
            "val_loss": self.evaluation.loss if self.evaluation else None,
            "train_loss": float(np.mean(self.losses[-tenth:])),
            "tokens_per_second": tokens / self.clock.seconds(),
            **self._member_loss(),
            **self._subset_losses(),
            **({"micro_batches": micro_batches} if micro_batches > 1 else {}),
            **({"resumed_step": self.resumed_step} if self.resumed_step > self.trunk_steps else {}),
            **({"trunk_steps": self.trunk_steps} if self.trunk_steps else {}),
        }
        return trial_outcome(self.group, self.clock, "completed", message, len(self.losses), metrics)

    def diverged(self) -> Outcome:
        """Return the outcome of a trial whose loss exceeded its bound, without losses."""
        message = f"loss is not a number or above {self.divergence_loss:g} nats at step {self.diverged_at}"
        return trial_outcome(self.group, self.clock, "diverged", message, self.diverged_at, {})

    def preempted(self, step: int, error_message: str | None) -> Outcome:
        """Return the outcome of a trial preempted after update ``step``.

        ``error_message`` is the reason why there is no checkpoint to resume from, if any.
        """
        message = "preempted; " + (error_message or "it resumes from its checkpoint")
        return trial_outcome(self.group, self.clock, "preempted", message, step, {})

    def _member_loss(self) -> dict[str, float]:
        if self.evaluation is None or len(self.group.members) == 1:
            return {}
        return {"member_loss": self.evaluation.member_loss}

    def _subset_losses(self) -> dict[str, float]:
        """Return the losses of the smaller ensembles of the same members, by the names of their columns."""
        if self.evaluation is None:
            return {}
        named = {"ensemble_loss": self.evaluation.by_size, "nested_loss": self.evaluation.nested}
        return {f"{name}_{size}": loss for name, losses in named.items() for size, loss in enumerate(losses, 1)}


def trial_outcome(
    group: MemberGroup,
    clock: Clock,
    state: State,
    message: str | None,
    last_step: int | None,
    metrics: Mapping[str, Value | None],
) -> Outcome:
    """Return the outcome of a trial that ends now."""
    return Outcome(
        trial_id=group.trial_id,
        state=state,
        message=message,
        last_step=last_step,
        started_at=clock.began_at,
        ended_at=dt.datetime.now(dt.UTC),
        train_seconds=clock.seconds(),
        metrics=metrics,
    )
