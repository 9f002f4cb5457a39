"""The steps at which a trial has memorized its training pairs and has grokked, or after which it still may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeplaw.trials.spec import Value
from sweeplaw.trials.workloads.modular_arithmetic.knobs import THRESHOLD


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Shares of training and validation pairs that were answered right after ``step`` updates."""

    step: int
    train: float
    val: float


def milestones(evaluations: Sequence[Accuracies]) -> dict[str, Value | None]:
    """Return, of each event, the step of the evaluation that saw it, or the last one that did not.

    Exactly one of ``grok_step`` and ``grok_censored_step`` is not None, and so for memorization: an event that has not
    happened is right-censored, not missing. Steps are exact to the distance between evaluations.
    """
    memorized = next((one.step for one in evaluations if one.train > THRESHOLD), None)
    unlearned = [index for index, one in enumerate(evaluations) if not one.val > THRESHOLD]
    lasting = unlearned[-1] + 1 if unlearned else 0
    grokked = evaluations[lasting].step if lasting < len(evaluations) else None
    last = evaluations[-1].step if evaluations else None
    return {
        "memorized_step": memorized,
        "memorized_censored_step": last if memorized is None else None,
        "grok_step": grokked,
        "grok_censored_step": last if grokked is None else None,
    }
