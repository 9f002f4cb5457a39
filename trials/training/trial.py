"""What is known so far of a trial in training, and the rows and the outcome it leaves."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import Value
from sweeplaw.trials.training.ensemble import EnsembleEvaluation
from sweeplaw.trials.training.stack import Floats, Member, Recipe, beyond


@dataclass(frozen=True, slots=True)
class Clock:
    """When a pack began, and how many trials share its device: each counts its share of the time."""

    sharing: int
    began_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    began: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """One trial's share of the wall seconds since the pack began."""
        return (time.perf_counter() - self.began) / self.sharing


@dataclass(frozen=True, slots=True)
class MemberGroup:
    """One trial: its members, all with the same settings but the seed. More than one is an ensemble."""

    trial_id: str
    members: tuple[Member, ...]


@dataclass
class TrialInProgress:
    """One trial in training; ``rows`` are its members among all members of the pack."""

    job: MemberGroup
    recipe: Recipe
    rows: slice
    clock: Clock
    diverged_at: int | None = None
    evaluation: EnsembleEvaluation | None = None
    losses: list[Floats] = field(default_factory=list)  # (members,) of each update
    norms: list[Floats] = field(default_factory=list)
    told: int = 0  # updates that a row of the curve has covered
    points: list[CurvePoint] = field(default_factory=list)  # those rows
    resumed: int = 0  # updates that were done before this attempt

    @property
    def bound(self) -> float:
        """Loss in nats a token beyond which the trial has diverged."""
        return self.job.members[0].divergence_loss

    def extend(self, losses: Floats, norms: Floats) -> None:
        """Take in the updates since the last call, (steps, all members) each, and find the first that diverged."""
        bad = np.flatnonzero(beyond(losses[:, self.rows], self.bound).any(axis=1))
        if len(bad):
            self.diverged_at = len(self.losses) + int(bad[0]) + 1
        self.losses.extend(losses[:, self.rows])
        self.norms.extend(norms[:, self.rows])

    def measured(self, evaluation: EnsembleEvaluation) -> None:
        """Take in an evaluation at the last update."""
        self.evaluation = evaluation
        if self.diverged_at is None and beyond(np.array(evaluation.loss), self.bound):
            self.diverged_at = len(self.losses)

    def point(self, *, evaluated: bool) -> CurvePoint:
        """The row of the curve at the last update."""
        step, first, member = len(self.losses), self.told, self.job.members[0]
        self.told = step
        point = CurvePoint(
            self.job.trial_id,
            step,
            tokens=step * self.recipe.batch_tokens,
            train_loss=float(np.mean(self.losses[first:])),
            val_loss=self.evaluation.loss if self.evaluation and evaluated else None,
            lr=member.lr * member.schedule(step - 1),
            grad_norm=float(np.mean(self.norms[-1])),
            metrics=self._member_loss() if evaluated else {},
        )
        self.points.append(point)
        return point

    def completed(self, micro_batches: int) -> Outcome:
        """The outcome after the last step, each made of so many micro-batches.

        ``train_loss`` is the mean over the last tenth of the run. Its time is that of this attempt, and so is its rate.
        """
        tenth = max(1, len(self.losses) // 10)
        tokens = (len(self.losses) - self.resumed) * self.recipe.batch_tokens * len(self.job.members)
        metrics: dict[str, Value | None] = {
            "val_loss": self.evaluation.loss if self.evaluation else None,
            "train_loss": float(np.mean(self.losses[-tenth:])),
            "tokens_per_second": tokens / self.clock.seconds(),
            **self._member_loss(),
            **({"micro_batches": micro_batches} if micro_batches > 1 else {}),
            **({"resumed_step": self.resumed} if self.resumed else {}),
        }
        return ended(self.job, self.clock, "completed", None, len(self.losses), metrics)

    def diverged(self) -> Outcome:
        """The outcome of a trial whose loss went beyond its bound; it has no losses to report."""
        message = f"loss is not a number or above {self.bound:g} nats at step {self.diverged_at}"
        return ended(self.job, self.clock, "diverged", message, self.diverged_at, {})

    def preempted(self, step: int, fault: str | None) -> Outcome:
        """The outcome of a trial that had to leave after update ``step``; ``fault`` is why it cannot be resumed."""
        message = "told to wind down" + (f"; {fault}" if fault else "; it goes on from its checkpoint")
        return ended(self.job, self.clock, "preempted", message, step, {})

    def _member_loss(self) -> dict[str, float]:
        if self.evaluation is None or len(self.job.members) == 1:
            return {}
        return {"member_loss": self.evaluation.member_loss}


def ended(
    job: MemberGroup,
    clock: Clock,
    state: State,
    message: str | None,
    last_step: int | None,
    metrics: Mapping[str, Value | None],
) -> Outcome:
    """The outcome of a trial that ends now."""
    return Outcome(
        trial_id=job.trial_id,
        state=state,
        message=message,
        last_step=last_step,
        started_at=clock.began_at,
        ended_at=dt.datetime.now(dt.UTC),
        train_seconds=clock.seconds(),
        metrics=metrics,
    )
