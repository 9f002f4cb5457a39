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


@dataclass(slots=True)
class Clock:
    """Start of a pack, and the number of trials ``sharing`` its device.

    Each is charged an equal share of the time until it ends, so that together they are charged the time of the device.
    """

    sharing: int
    began_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    _charged: float = 0.0  # seconds of each trial still training, up to `_since`
    _since: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """Return the share of the wall seconds since the pack began of a trial that is still training."""
        return self._charged + (time.perf_counter() - self._since) / self.sharing

    def outcome(
        self,
        trial_id: str,
        state: State,
        message: str | None,
        last_step: int | None,
        metrics: Mapping[str, Value | None],
    ) -> Outcome:
        """Return the outcome of a trial that ends now; from now on the others share the device."""
        now = time.perf_counter()
        self._charged, self._since = self._charged + (now - self._since) / self.sharing, now
        self.sharing = max(1, self.sharing - 1)
        ended_at = dt.datetime.now(dt.UTC)
        return Outcome(trial_id, state, message, last_step, self.began_at, ended_at, self._charged, metrics)


@dataclass(frozen=True, slots=True)
class ReportedSteps:
    """Steps at which a curve point is reported, the last one the end of the run, and those of them at which the
    validation loss is measured.
    """

    curve: tuple[int, ...]
    evaluations: frozenset[int]

    @classmethod
    def evenly(cls, steps: int, *, curve: int, evaluations: int) -> ReportedSteps:
        """Return evenly spaced steps, including the last; a short run has fewer of each than requested."""
        evaluated = frozenset(max(1, round(steps * (i + 1) / evaluations)) for i in range(evaluations))
        reported = {max(1, round(steps * (i + 1) / curve)) for i in range(curve)}
        return cls(tuple(sorted(reported | evaluated)), evaluated)


@dataclass(frozen=True, slots=True)
class MemberGroup:
    """The members of one trial, with the same settings except the seed. More than one form an ensemble."""

    trial_id: str
    members: tuple[Member, ...]


@dataclass
class TrialInProgress:
    """One trial in training; ``rows`` are its members among all that still train, ``reported`` its steps."""

    group: MemberGroup
    recipe: Recipe
    rows: slice
    clock: Clock
    reported: ReportedSteps
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

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return self.reported.curve[-1]

    @property
    def next_point(self) -> int:
        """The step of its next curve point."""
        return next(step for step in self.reported.curve if step > self.reported_steps)

    def evaluates(self, step: int) -> bool:
        """Return whether its validation loss is to be measured at this step, or was at one since its last point."""
        return any(self.reported_steps < evaluated <= step for evaluated in self.reported.evaluations)

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
        return self.clock.outcome(self.group.trial_id, "completed", message, len(self.losses), metrics)

    def diverged(self) -> Outcome:
        """Return the outcome of a trial whose loss exceeded its bound, without losses."""
        message = f"loss is not a number or above {self.divergence_loss:g} nats at step {self.diverged_at}"
        return self.clock.outcome(self.group.trial_id, "diverged", message, self.diverged_at, {})

    def preempted(self, step: int, error_message: str | None) -> Outcome:
        """Return the outcome of a trial preempted after update ``step``.

        ``error_message`` is the reason why there is no checkpoint to resume from, if any.
        """
        message = "preempted; " + (error_message or "it resumes from its checkpoint")
        return self.clock.outcome(self.group.trial_id, "preempted", message, step, {})

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
