"""Local search with a certificate: descent over ordered ladders, from point to neighbouring point.

A scientific point starts at the optimum of a neighbouring one that is certified, the cheapest point at the setting of
the sweep file or in the middle. Around the best setting so far every neighbour runs, those in the direction of the last
improvement first, until no neighbour is better: that is its certificate (`analysis.tuning.certificate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeplaw.analysis.tuning.certificate import Certificate, Place, certificate, neighbours
from sweeplaw.orchestrator.plan.search_options import LocalSearch
from sweeplaw.orchestrator.search.answers import Answer
from sweeplaw.orchestrator.search.contract import Finished, History, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space, ladder
from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.spec import Value


class Local:
    """The search of a `LocalSearch`. Raises InputError for a start or a move that is none."""

    def __init__(self, space: Space, options: LocalSearch) -> None:
        self._space = space
        self._ladders = [tuple(ladder(axis)) for axis in space.axes]
        self._sizes = [len(values) for values in self._ladders]
        self._names = [",".join(axis.names) for axis in space.axes]
        faults: list[str] = []
        self._moves = [self._move(move, faults) for move in options.moves]
        self._start = self._started(options.start, faults)
        if faults:
            raise InputError(faults, where=space.sweep.name)
        self._near = space.neighbours()
        cost = [group.cost.flops or 0.0 for group in space.examples]
        self._order = sorted(range(len(space.cells)), key=lambda cell: (cost[cell] if cell < len(cost) else 0.0, cell))

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return a neighbour that has not run, of the cheapest point that has one; then the start of another point."""
        known = self._known(history)
        taken = history.taken
        found = {cell: self._certificate(cell, values) for cell, values in known.items()}
        for cell in self._order:
            if (proof := found.get(cell)) and (place := self._next(cell, proof, history, taken)):
                return Proposal(self._setting(cell, place), self._reason(cell, place, proof))
        for cell, proof in found.items():
            if proof is None and (other := self._elsewhere(cell, known[cell], taken)) is not None:
                return other
        begun = {*known, *(item.setting.cell for item in history.pending)}
        for cell in self._order:
            if cell not in begun and (begin := self._begin(cell, found, taken)) is not None:
                return begin
        if history.pending:
            return None
        stuck = [cell for cell in self._order if not (proof := found.get(cell)) or not proof.holds]
        left = [self._space.describe_cell(cell) for cell in stuck]
        return Finished(
            f"no neighbour is better at any of {len(self._space.cells)} points"
            if not left
            else f"{len(left)} points have no setting with a loss: {'; '.join(left[:3])}"
        )

    def belief(self, history: History) -> str:
        """Return at how many points the optimum is certified, and how many of these lie at an edge."""
        proofs = [proof for item in self._known(history).items() if (proof := self._certificate(*item))]
        edges = sum(bool(proof.edges) for proof in proofs if proof.holds)
        at_edge = f", {edges} at the end of a ladder" if edges else ""
        return f"{sum(proof.holds for proof in proofs)} of {len(self._space.cells)} points certified{at_edge}"

    def answers(self, history: History) -> list[Answer]:
        """Return the best setting of each point with its certificate in words."""
        proofs = {cell: self._certificate(cell, values) for cell, values in sorted(self._known(history).items())}
        return [
            Answer(self._setting(cell, proof.best), proof.value, proof.sentence(self._names), certified=proof.holds)
            for cell, proof in proofs.items()
            if proof
        ]

    def _known(self, history: History) -> dict[int, dict[Place, float | None]]:
        """Return the loss of every place that has run, by cell."""
        found: dict[int, dict[Place, float | None]] = {}
        for seen in history.observations:
            if (place := self._place(seen.setting)) is not None:
                found.setdefault(seen.setting.cell, {})[place] = seen.value
        return found

    def _certificate(self, cell: int, values: Mapping[Place, float | None]) -> Certificate | None:
        """Return the certificate of a cell; neighbours without trials do not count, nor ends of an axis
        whose condition does not hold.
        """
        proof = certificate(values, self._sizes, self._moves)
        barred = [place for place in proof.open if not self._admits(cell, place)] if proof else []
        proof = certificate(values, self._sizes, self._moves, barred) if barred else proof
        if proof is None:
            return None
        off = self._space.inactive(self._setting(cell, proof.best))
        edges = {n: end for n, end in proof.edges.items() if not off.issuperset(self._space.axes[n].names)}
        return replace(proof, edges=edges)

    def _admits(self, cell: int, place: Place) -> bool:
        return self._space.admits(self._setting(cell, place))

    def _next(self, cell: int, proof: Certificate, history: History, taken: set[Setting]) -> Place | None:
        """Return the neighbour of the best to run next: first where the last improvement pointed."""
        before: dict[Place, float] = {}
        for seen in history.observations:
            place = self._place(seen.setting) if seen.setting.cell == cell else None
            if place == proof.best:
                break
            if place is not None and seen.value is not None:
                before[place] = seen.value
        last = min(before, key=lambda place: (before[place], place), default=proof.best)
        ahead = tuple(2 * b - a for a, b in zip(last, proof.best, strict=True))
        options = sorted(proof.open, key=lambda place: place != ahead)
        return next((place for place in options if self._setting(cell, place) not in taken), None)

    def _begin(self, cell: int, found: Mapping[int, Certificate | None], taken: set[Setting]) -> Proposal | None:
        """Return the first proposal of a point, None if it has to wait for a neighbour or has no setting left."""
        sources = [near for near in self._near[cell] if (proof := found.get(near)) and proof.holds]
        if not sources and any(found.values()):
            return None
        first = not any(found.values())
        if first and cell != self._order[0]:
            return None
        proof = found[sources[0]] if sources else None
        place = proof.best if proof else self._start
        where = f"the optimum at {self._space.describe_cell(sources[0])}" if sources else "the start of the search"
        for there in self._spread(place):
            setting = self._setting(cell, there)
            if setting not in taken and self._space.admits(setting):
                return Proposal(setting, f"1st setting at {self._space.describe_cell(cell)}: {where}")
        return None

    def _elsewhere(self, cell: int, ran: Mapping[Place, float | None], taken: set[Setting]) -> Proposal | None:
        """Return a setting beside the first one of a point without a loss; None while one runs, or if no setting is
        left.
        """
        if any(setting.cell == cell and self._place(setting) not in ran for setting in taken):
            return None
        for place in self._spread(next(iter(ran))):
            setting = self._setting(cell, place)
            if setting not in taken and self._space.admits(setting):
                why = f"{len(ran)} settings without a loss at {self._space.describe_cell(cell)}: one beside them"
                return Proposal(setting, why)
        return None

    def _spread(self, place: Place) -> list[Place]:
        """Return this place and then ever farther ones, so that one of them has trials."""
        seen, frontier = [place], [place]
        while frontier:
            frontier = [
                there
                for here in frontier
                for there in dict.fromkeys(neighbours(here, self._sizes))
                if there not in seen and not seen.append(there)  # type: ignore[func-returns-value]
            ]
        return seen

    def _reason(self, cell: int, place: Place, proof: Certificate) -> str:
        steps = [
            f"{name} {'up' if after > before else 'down'}"
            for name, before, after in zip(self._names, proof.best, place, strict=True)
            if after != before
        ]
        at = self._space.describe_cell(cell)
        return f"neighbour of the best so far at {at} ({proof.value:.5g}): {', '.join(steps)}"

    def _place(self, setting: Setting) -> Place | None:
        """Return the place of a setting on the ladders; None if one of its values is on none."""
        try:
            return tuple(values.index(own) for values, own in zip(self._ladders, setting.values, strict=True))
        except ValueError:
            return None

    def _setting(self, cell: int, place: Place) -> Setting:
        return Setting(cell, tuple(values[k] for values, k in zip(self._ladders, place, strict=True)))

    def _move(self, move: Mapping[str, int], faults: list[str]) -> Place:
        if unknown := sorted(move.keys() - set(self._names)):
            close = nearest(unknown[0], self._names)
            faults.append(f"search.moves: no axis {', '.join(unknown)}{close} (accepted: {', '.join(self._names)})")
        if not any(move.values()):
            faults.append(f"search.moves: {shown(dict(move))} moves nothing (accepted: steps such as 1 or -1)")
        return tuple(move.get(name, 0) for name in self._names)

    def _started(self, start: Mapping[str, Any], faults: list[str]) -> Place:
        """Return the place of the first point: the given values, the middle of the other ladders."""
        knobs = {name for axis in self._space.axes for name in axis.names}
        if unknown := sorted(start.keys() - knobs):
            faults.append(f"search.start: no axis {', '.join(unknown)} (accepted: {', '.join(sorted(knobs))})")
        return tuple(
            self._rung(names, values, start, faults)
            for names, values in zip((axis.names for axis in self._space.axes), self._ladders, strict=True)
        )

    def _rung(
        self, names: Sequence[str], values: Sequence[tuple[Value, ...]], start: Mapping[str, Any], faults: list[str]
    ) -> int:
        wanted = {name: start[name] for name in names if name in start}
        fitting = [k for k, own in enumerate(values) if all(own[names.index(name)] == v for name, v in wanted.items())]
        if not fitting:
            faults.append(f"search.start: {shown(wanted)} is not a value of {', '.join(names)}")
            return 0
        return fitting[0] if wanted else len(values) // 2
