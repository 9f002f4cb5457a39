"""Early stopping by learning curves, for any search that runs trials to their end.

A trial pauses at a few steps. The finished trials of its scientific point (of all points, relative to the loss, while
there are few) say what final loss follows from a loss at that share of the steps: a regression line, or while there are
few the mean fall, with the Student distribution of a new value. The trial is stopped where it is worse than the best
finished one with the confidence that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import stdtr

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.search_options import EarlyStoppingOptions as Options
from sweeplaw.orchestrator.search.contract import (
    Finished,
    History,
    Observation,
    Pending,
    Proposal,
    Search,
    Setting,
    Stop,
)
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.trials.errors import InputError

FEWEST = 4  # finished curves from which a fall is predicted
LINE = 6  # finished curves from which the slope of the final loss in the loss so far is fitted


@dataclass(frozen=True, slots=True)
class FinalLossPrediction:
    """The predicted final loss, and the probability that it is worse than the best finished one of its point."""

    loss: float
    worse: float
    curves: int


class EarlyStopping:
    """A search whose trials are stopped early. Raises InputError if it pauses trials itself, or steps are unknown."""

    def __init__(self, space: Space, options: Options, search: Search) -> None:
        self._space, self._options, self._search = space, options, search
        faults = []
        if space.sweep.search.pauses:
            faults.append(f"search.early_stopping: {space.sweep.search.kind} pauses and ends trials by its own rule")
        if any(group.cost.steps is None for group in space.examples):
            faults.append("search.early_stopping: the steps of trials are unknown here; give the workload a knob steps")
        if faults:
            raise InputError(faults, where=space.sweep.name)

    def propose(self, history: History) -> Proposal | Stop | Finished | None:
        """Decide on the trials that wait at a check first; then ask the search, whose trials pause at their first."""
        running = {item.setting for item in history.pending}
        for seen in history.observations:
            if seen.status == "paused" and seen.setting not in running:
                return self._decide(seen, history.observations)
        found = self._search.propose(_without_paused(history))
        return replace(found, until=self._next(found.setting, 0)) if isinstance(found, Proposal) else found

    def belief(self, history: History) -> str:
        """Return how many trials were stopped, and what the search believes."""
        stopped = sum(seen.status == "stopped" for seen in history.observations)
        own = self._search.belief(_without_paused(history))
        return "; ".join(filter(None, [own, f"{stopped} stopped early"]))

    def _decide(self, seen: Observation, others: Sequence[Observation]) -> Proposal | Stop:
        step = seen.step or 0
        found = predicted(seen, others)
        if found is not None and found.worse >= self._options.confidence:
            return Stop(
                seen.setting,
                f"stopped at step {step}: its final loss is predicted as {found.loss:.5g} from {found.curves} finished "
                f"curves, worse than the best of its point with probability {found.worse:.3f}",
                found.loss,
            )
        until = self._next(seen.setting, step)
        why = "too few finished curves to predict from" if found is None else f"predicted {found.loss:.5g}"
        return Proposal(seen.setting, f"goes on from step {step}: {why}", until)

    def _next(self, setting: Setting, step: int) -> int | None:
        """Return the next check after a step; None if the trial runs to its end from there."""
        group = self._space.group(setting)
        assert isinstance(group, Group), "a proposed setting has trials"
        steps, first, checks = group.cost.steps or 0, self._options.first, self._options.checks
        shares = [first + (1 - first) * k / checks for k in range(checks)]
        return next((at for share in shares if (at := math.ceil(share * steps)) > step and at < steps), None)


def predicted(seen: Observation, others: Sequence[Observation]) -> FinalLossPrediction | None:
    """Return the prediction for a paused setting; None without a loss of its own, a finished loss at its point, or
    enough finished curves.
    """
    finished = [other for other in others if other.value is not None and other.curve and other.steps]
    own = [other for other in finished if other.setting.cell == seen.setting.cell]
    if not seen.curve or not seen.steps or not own:
        return None
    step, loss = seen.curve[-1]
    relative = len(own) < FEWEST
    pairs = [pair for other in (finished if relative else own) if (pair := _pair(other, step / seen.steps, relative))]
    if len(pairs) < FEWEST:
        return None
    scale = loss if relative else 1.0
    fall, spread, free = _fall(pairs, loss / scale)
    final = loss + fall * scale
    best = min(other.value for other in own if other.value is not None)
    worse = float(final > best) if spread == 0 else float(stdtr(free, (final - best) / (spread * scale)))
    return FinalLossPrediction(final, worse, len(pairs))


def _pair(other: Observation, share: float, relative: bool) -> tuple[float, float] | None:
    """Return the loss of a finished trial at this share of its steps, and its change from there to the end."""
    at = next((loss for step, loss in other.curve if other.steps and step >= share * other.steps - 0.5), None)
    if at is None or other.value is None:
        return None
    scale = at if relative else 1.0
    return at / scale, (other.value - at) / scale


def _fall(pairs: Sequence[tuple[float, float]], loss: float) -> tuple[float, float, int]:
    """Return the change to expect from this loss, the standard deviation of a new one, and its degrees of freedom."""
    count = len(pairs)
    middle, mean = (sum(column) / count for column in zip(*pairs, strict=True))
    square = sum((at - middle) ** 2 for at, _ in pairs)
    slope, used, reach = 0.0, 1, 1 / count
    if count >= LINE and square > 0:
        slope = sum((at - middle) * (fall - mean) for at, fall in pairs) / square
        used, reach = 2, 1 / count + (loss - middle) ** 2 / square
    residual = sum((fall - mean - slope * (at - middle)) ** 2 for at, fall in pairs)
    spread = math.sqrt(residual / (count - used) * (1 + reach))
    return mean + slope * (loss - middle), spread, count - used


def _without_paused(history: History) -> History:
    """Return the history as the search sees it: what waits at a check is pending."""
    paused = [seen for seen in history.observations if seen.status == "paused"]
    running = {item.setting for item in history.pending}
    waiting = [
        Pending(seen.setting, seen.number, seen.known, seen.knobs) for seen in paused if seen.setting not in running
    ]
    kept = [seen for seen in history.observations if seen.status != "paused"]
    return replace(history, observations=kept, pending=[*history.pending, *waiting])
