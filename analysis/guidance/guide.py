"""Guide of a search: proposes the runs that lower the expected regret of all cells the most per FLOP.

A pure function of (space, records in their order, seed, options): a guide that has observed the same records proposes
the same runs, whether it was asked in between or not. Points of equal gain are taken in the order of the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.guidance.answers import CellAnswer, cell_answers
from sweeplaw.analysis.guidance.gains import Gains, gains, lowest_rows
from sweeplaw.analysis.guidance.optimum_law import OptimumLaw, optimum_law, target_plans
from sweeplaw.analysis.guidance.reasons import reason
from sweeplaw.analysis.guidance.records import Records
from sweeplaw.analysis.guidance.space import Array, CandidateSpace, Index
from sweeplaw.analysis.guidance.surface import Belief, believe
from sweeplaw.analysis.guidance.terms import Terms

START_POINTS = 5  # in each of the cheapest cells; two or three cannot show curvature
REFIT_LEAST, REFIT_SHARE = 8, 0.06  # new records after which the law is fitted again
FIRST_VISIT_SHARE = 0.05  # a cell is visited when its point costs at most this share of what was spent
CLEAR_OF_LOSS = 1.0  # octaves from a diverged or missing run at which an unvisited cell is tried again


@dataclass(frozen=True, slots=True)
class Options:
    """``seed_noise``: relative sd of the loss between seeds. ``confirm``: weight of a lower recorded loss against
    knowledge of the noise-free optimum; 0 for the denoised answer alone. ``target``: values of the axes at which the
    interval of the law is to be narrowed, instead of the regret of the cells.
    """

    seed_noise: float = 0.0008
    confirm: float = 1.0
    target: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class PlacedRun:
    """A point to run, why in words, and of what ``kind``: start, first visit, search or target."""

    index: int
    reason: str
    kind: str


class Guide:
    """Proposals, answers and laws of a search over ``space``."""

    def __init__(self, space: CandidateSpace, seed: int = 0, options: Options | None = None) -> None:
        self.space = space
        self.seed = seed
        self.options = options or Options()
        self.records = Records(space)
        self._terms = Terms.of(space)
        self._target = None if self.options.target is None else space.at(self.options.target)
        self._start = _start(space, seed)
        self._belief: Belief | None = None
        self._fitted = -1  # number of records in the last fit
        self._learnt = 0  # number of records that the belief knows

    def observe(self, indices: Sequence[int], values: Sequence[float], failed: Sequence[bool] | None = None) -> None:
        """Add records, as `Records.add`."""
        self.records.add(indices, values, failed)

    def propose(self, k: int = 1, budget_left: float = np.inf, pending: Sequence[int] = ()) -> list[PlacedRun]:
        """Return up to ``k`` runs that ``budget_left`` FLOPs can pay for, fewer if nothing else is left to run.

        ``pending``: points that run now; their expected information counts, and their cost is already paid.
        """
        waiting = [int(p) for p in pending]
        found: list[PlacedRun] = []
        belief: Belief | None = None
        for _ in range(k):
            if (point := self._next_start(waiting, budget_left)) is not None:
                proposal = self._proposal(point, "start", None, waiting)
            else:
                if belief is None:
                    belief = self.belief().copy()
                    belief.await_records(np.array(waiting, dtype=np.int64))
                if (choice := self._choose(belief, waiting, budget_left)) is None:
                    break
                proposal = choice
                belief.await_records(np.array([proposal.index]))
            found.append(proposal)
            waiting.append(proposal.index)
            budget_left -= float(self.space.cost[proposal.index])
        return found

    def recommend(self) -> list[CellAnswer]:
        """Return the best settings of each cell: by the records, and by the noise-free surface.

        None while no record has a loss.
        """
        return cell_answers(self.belief(), self.records, self.seed) if self.records.any_loss else []

    def law(self) -> OptimumLaw:
        """Return how the optimum of each knob moves with the axes."""
        return optimum_law(self.belief())

    def expected_gain(self, pending: Sequence[int] = ()) -> float:
        """Return the greatest expected gain per FLOP of a run, 0 if no point is left.

        The gain is the expected fall of the relative noise-free regret, summed over cells; with a target, of the
        variance of the knobs' optima there, in squared octaves.
        """
        belief = self.belief().copy()
        belief.await_records(np.array(list(pending), dtype=np.int64))
        _, per_flop = self._worth(belief, list(pending), np.inf, confirm=0.0)
        return float(per_flop.max(initial=0.0))

    def belief(self) -> Belief:
        """Return what the records say of the surface. Refit at fixed numbers of records, so that it is pure."""
        count, due = len(self.records), _last_refit(len(self.records), len(self._start))
        if self._belief is None or self._fitted != due:
            self._belief = believe(self._terms, *self.records.first(due), self.options.seed_noise)
            self._fitted = self._learnt = due
        for n in range(self._learnt, count):
            y, best = self.records.judged[n], self.records.best_so_far[n]
            if np.isfinite(best) and not np.isnan(y):
                self._belief.learn(self.records.index[n], y, best)
        self._learnt = count
        return self._belief

    def _next_start(self, waiting: list[int], left: float) -> int | None:
        if len(self.records) + len(waiting) >= len(self._start):
            return None
        cost, tried = self.space.cost, self.records.tried
        return next((p for p in self._start if not tried[p] and p not in waiting and cost[p] <= left), None)

    def _choose(self, belief: Belief, waiting: list[int], left: float) -> PlacedRun | None:
        """Return the next proposal after the start, or None if nothing that can be paid is left."""
        if (point := self._first_visit(belief, waiting, left)) is not None:
            return self._proposal(point, "first visit", belief, waiting)
        rows, per_flop = self._worth(belief, waiting, left, self.options.confirm)
        if len(rows):
            point = int(belief.active[rows[np.argmax(per_flop)]])
        else:  # all points that are followed have run
            rest = np.flatnonzero(~self._taken(waiting) & (self.space.cost <= left))
            if not len(rest):
                return None
            point = int(rest[np.argmin(belief.fit.rise[rest])])
        return self._proposal(point, "search" if self._target is None else "target", belief, waiting)

    def _worth(self, belief: Belief, waiting: list[int], left: float, confirm: float) -> tuple[Index, Array]:
        """Return active rows that may run, and their gain per FLOP."""
        run = self._taken(waiting)[belief.active]
        allowed = ~run & (self.space.cost[belief.active] <= left)
        if not allowed.any():
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        if self._target is not None:
            plans = target_plans(belief, self._target, allowed)
            return np.array([plan.row for plan in plans]), np.array([plan.per_flop for plan in plans])
        found = gains(belief, allowed, run, self.records.best)
        gain = found.knowledge.sum(axis=1) + confirm * found.improvement
        return found.rows, gain / self.space.cost[belief.active[found.rows]]

    def _first_visit(self, belief: Belief, waiting: list[int], left: float) -> int | None:
        """Return the predicted optimum of the cheapest unvisited cell that costs little beside what was spent."""
        space, taken = self.space, self._taken(waiting)
        visited = np.isfinite(self.records.best)
        visited[space.cell[np.array(waiting, dtype=np.int64)]] = True
        most = min(left, FIRST_VISIT_SHARE * (self.records.spent + float(space.cost[waiting].sum())))
        open_rows = ~taken[belief.active] & (space.cost[belief.active] <= most)
        found = []
        for cell, rows in enumerate(lowest_rows(belief, len(space))):
            points = belief.active[rows[open_rows[rows]]].tolist()
            if not visited[cell] and points:
                lost = np.flatnonzero((space.cell == cell) & self.records.lost)
                found.append(next((p for p in points if self._clear(p, lost)), points[0]))
        return min(found, key=lambda p: float(space.cost[p]), default=None)

    def _clear(self, point: int, lost: Index) -> bool:
        return bool((np.linalg.norm(self.space.x[lost] - self.space.x[point], axis=1) > CLEAR_OF_LOSS).all())

    def _taken(self, waiting: list[int]) -> NDArray[np.bool_]:
        taken = self.records.tried.copy()
        taken[waiting] = True
        return taken

    def _proposal(self, point: int, kind: str, belief: Belief | None, waiting: list[int]) -> PlacedRun:
        """Return the proposal of a point with its reason."""
        found: Gains | None = None
        if belief is not None and belief.row[point] >= 0 and self._target is None:
            only = belief.active == point
            found = gains(belief, only, self._taken(waiting)[belief.active], self.records.best)
        return PlacedRun(point, reason(self.space, self.records, belief, point, kind, waiting, found), kind)


def _start(space: CandidateSpace, seed: int) -> list[int]:
    """Return random points of the cheapest cells, enough cells for a slope in every axis."""
    rng = np.random.default_rng(seed)
    cheapest = np.full(len(space.cells), np.inf)
    np.minimum.at(cheapest, space.cell, space.cost)
    start: list[int] = []
    for cell in np.argsort(cheapest, kind="stable")[: len(space.axes) + 1]:
        points = np.flatnonzero(space.cell == cell)
        start += [int(p) for p in rng.choice(points, min(START_POINTS, len(points)), replace=False)]
    return start


def _last_refit(count: int, start: int) -> int:
    """Return the number of records at the last refit: each of the first ``start``, then every few."""
    due = min(count, start)
    while due >= start and (following := due + max(REFIT_LEAST, int(REFIT_SHARE * due))) <= count:
        due = following
    return due
