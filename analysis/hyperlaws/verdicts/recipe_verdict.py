"""Whether one law serves all recipes: the factor of each, and the score of a law without factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeplaw.analysis.hyperlaws.evaluation import Estimator, LawEvaluation, Scorer, leave_one_out
from sweeplaw.analysis.hyperlaws.knob_law import KnobLaw


@dataclass(frozen=True, slots=True)
class RecipeVerdict:
    """Whether one law serves all recipes. ``one_law``: leave-one-out score (c) of a law without offsets, per mille."""

    serves_all: bool
    with_offsets: float | None
    one_law: float | None
    sentence: str


def recipe_verdict(
    laws: Sequence[KnobLaw], without_offsets: Estimator, scorer: Scorer, evaluation: LawEvaluation
) -> RecipeVerdict:
    """Compare ``laws``, which have one offset per recipe and the score ``evaluation``, to one law for all recipes."""
    moved = []
    for law in laws:
        for name, factor in law.offsets.items():
            if factor.low is not None and factor.high is not None and (factor.low > 1 or factor.high < 1):
                times = f"{factor.value:.2f} [{factor.low:.2f}, {factor.high:.2f}] times"
                moved.append(f"{name}: the optimal {law.knob} is {times} that of the reference recipe")
    shared = leave_one_out(scorer, without_offsets)
    own, one = (e.metric("quadratic").score for e in (evaluation, shared))
    cost = f" (held-out regret {one:.3f} per mille with one law, {own:.3f} with offsets)" if own and one else ""
    sentence = f"one law does not serve all recipes: {'; '.join(moved)}" if moved else "one law serves all recipes: "
    sentence += "" if moved else "every offset's interval includes a factor of 1"
    return RecipeVerdict(not moved, own, one, sentence + cost)
