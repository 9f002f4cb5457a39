"""Which deaths of workers count against a trial, and when it has had too many.

The loss of a node is no fault of a trial, and neither is a death after progress: it has left a new checkpoint. Such
deaths are excused, up to a bound, because a trial may kill its node, or die again and again right after a checkpoint.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

MOST_EXCUSED = 20  # deaths of a trial without a step beyond all earlier ones; assumption: more are its own doing

# Run it once more, decide when the reason is known, or not again.
Verdict = Literal["again", "wait", "give up"]


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker died, as far as it matters to the trial that it ran.

    ``node_lost`` is whether its node went away, ``open`` whether that will be known only later. ``saved`` is whether
    the trial had written a new checkpoint, ``step`` the last step that it had reported, None if that is unknown. After
    a ``final`` one the trial is not tried again.
    """

    node_lost: bool = False
    open: bool = False
    saved: bool = False
    step: int | None = None
    final: bool = False


class DeathCounts:
    """Counts deaths by trial; a trial is given up at ``allowed`` deaths that count, or at too many excused ones."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._counted: Counter[str] = Counter()
        self._excused: Counter[str] = Counter()  # since its last progress
        self._furthest: dict[str, int] = {}  # step at an earlier death

    def died(self, trial: str, death: Death) -> Verdict:
        """Count the death of a worker that ran this trial; return what becomes of the trial."""
        if death.final:
            return "give up"
        if death.saved and death.step is not None and death.step > self._furthest.get(trial, 0):
            self._furthest[trial] = death.step
            del self._excused[trial]
            return "again"
        if death.node_lost or death.saved:
            return self._excuse(trial)
        self._counted[trial] += 1
        if self._counted[trial] < self._allowed:
            return "again"
        return "wait" if death.open else "give up"

    def settled(self, trial: str, *, node_lost: bool) -> Verdict:
        """Return what becomes of a trial now that the reason of an open death is known."""
        if node_lost:
            self._counted[trial] -= 1
            return self._excuse(trial)
        return "again" if self._counted[trial] < self._allowed else "give up"

    def forget(self, trial: str) -> None:
        """Count anew: the trial has an outcome of its own."""
        for counts in (self._counted, self._excused, self._furthest):
            counts.pop(trial, None)

    def _excuse(self, trial: str) -> Verdict:
        self._excused[trial] += 1
        return "again" if self._excused[trial] <= max(MOST_EXCUSED, self._allowed) else "give up"
