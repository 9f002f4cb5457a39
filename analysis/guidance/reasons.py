"""Reasons of proposals, in words for the store."""

from __future__ import annotations

import numpy as np

from sweeplaw.analysis.guidance.gains import Gains, lowest_rows
from sweeplaw.analysis.guidance.records import Records
from sweeplaw.analysis.guidance.space import CandidateSpace
from sweeplaw.analysis.guidance.surface import Belief

MOSTLY = 0.5  # share of a gain above which it is named
AT_OPTIMUM = 0.3  # octaves within which a point is at the predicted optimum


def reason(
    space: CandidateSpace,
    records: Records,
    belief: Belief | None,
    point: int,
    kind: str,
    waiting: list[int],
    found: Gains | None,
) -> str:
    """Return why a point is run: ``3rd point in the cell N = 214M, D = 4B: predicted optimum, …``."""
    cell = int(space.cell[point])
    ran = np.unique(np.r_[np.flatnonzero(records.tried), np.array(waiting, dtype=np.int64)])
    count = int((space.cell[ran] == cell).sum())
    opening = f"{ordinal(count + 1)} point" + (f" in the cell {space.cell_name(cell)}" if space.axes else "")
    if belief is None:
        return f"{opening}: start, at random"
    parts = [_position(space, belief, point, cell)]
    if kind == "first visit":
        parts.append("first visit of a cell that is cheap beside what was spent")
    elif kind == "target":
        parts.append("narrows the law at the target most per FLOP")
    elif found is not None and len(found.rows):
        parts += _worth(found, cell)
    return f"{opening}: {', '.join(parts)}"


def ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``3rd``, ``4th``."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _position(space: CandidateSpace, belief: Belief, point: int, cell: int) -> str:
    """Return where a point lies from the predicted optimum of its cell."""
    lead = int(belief.active[lowest_rows(belief, 1)[cell][0]])
    if point == lead:
        return "predicted optimum"
    if space.recipe[point] != space.recipe[lead]:
        return f"compares {space.recipes[space.recipe[point]]} with {space.recipes[space.recipe[lead]]}"
    step = space.x[point] - space.x[lead]
    cost = np.abs(step) * np.sqrt(belief.fit.curvature.diagonal())
    if np.abs(step).max() <= AT_OPTIMUM:
        return "beside the predicted optimum"
    knob = int(np.argmax(cost))
    side = "above" if step[knob] > 0 else "below"
    return f"checks curvature in {space.knobs[knob].name}, {side} the predicted optimum"


def _worth(found: Gains, cell: int) -> list[str]:
    """Return what most of the gain is."""
    knowledge, improvement = found.knowledge[0], float(found.improvement[0])
    total = float(knowledge.sum()) + improvement
    if improvement > MOSTLY * total:
        return ["may beat the best record"]
    if float(knowledge.sum() - knowledge[cell]) > MOSTLY * total:
        return ["most informative about other cells, through the law"]
    return ["most informative about this cell"]
