"""Answers of a search: the best settings of each cell by the records and by the noise-free surface, and their trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.guidance.gains import lowest_rows
from sweeplaw.analysis.guidance.records import Records
from sweeplaw.analysis.guidance.space import Array, CandidateSpace, Index
from sweeplaw.analysis.guidance.surface import Belief
from sweeplaw.trials.quantities import counted

DRAWS = 400  # of a cell's noise-free surface
CLOSE = 0.001  # relative regret within which settings are as good as the best
JITTER = 1e-10  # variance added to draws: a hundredth of a per mille of loss
TRUSTED, LOW_CONFIDENCE = 0.9, 0.5
NEAR = 1.0  # octaves of the answer within which a run verifies it
OFF_NOISES, LEAST_OFF = 8.0, 0.02  # noises of a record, and relative loss, by which one contradicts the surface
FEWEST_NEAR = 3  # runs near the answer of which more than half without a loss contradict it


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """The answers of one cell. ``recorded``: the point with the lowest record, or one never run that is predicted to be
    lower yet. ``denoised``: the minimum of the noise-free surface; use this one in earnest. ``loss``: expected there.

    ``intervals``: for each knob the 95 % interval of the noise-free optimum among the candidates. ``regret``: expected
    relative regret of ``denoised``; ``trust``: the probability that it is within 0.1 % of the best, in ``words`` too; 0
    where records contradict the surface, whose probability is then meaningless.
    """

    cell: int
    recorded: int
    denoised: int
    loss: float
    intervals: Mapping[str, tuple[float, float]]
    regret: float
    trust: float
    words: str


def cell_answers(belief: Belief, records: Records, seed: int) -> list[CellAnswer]:
    """Return the answer of every cell."""
    return [_answer(belief, records, rows, c, seed) for c, rows in enumerate(lowest_rows(belief, len(belief.active)))]


def _answer(belief: Belief, records: Records, rows: Index, cell: int, seed: int) -> CellAnswer:
    space, points, mu = belief.space, belief.active[rows], belief.mu[rows]
    recorded = int(records.leader[cell])
    unseen = np.flatnonzero(~records.tried[points])
    if len(unseen) and (recorded < 0 or mu[unseen[0]] < records.best[cell]):
        recorded = int(points[unseen[0]])
    recorded = int(points[0]) if recorded < 0 else recorded
    draws = _draws(belief, rows, np.random.default_rng([seed, len(records), cell]))
    settings = space.settings[points[draws.argmin(axis=1)]]
    low, high = np.quantile(settings, [0.025, 0.975], axis=0, method="nearest")
    regret = draws[:, 0] - draws.min(axis=1)
    against = _contradiction(belief, records, cell, int(points[0]), float(mu[0]))
    trust = 0.0 if against else float((regret <= CLOSE).mean())
    return CellAnswer(
        cell=cell,
        recorded=recorded,
        denoised=int(points[0]),
        loss=float(np.exp(mu[0])),
        intervals={k.name: (float(a), float(b)) for k, a, b in zip(space.knobs, low, high, strict=True)},
        regret=float(regret.mean()),
        trust=trust,
        words=_words(space, records, int(points[0]), trust, against),
    )


def _contradiction(belief: Belief, records: Records, cell: int, point: int, lowest: float) -> str:
    """Return how the records of a cell contradict the surface whose minimum is ``lowest`` at ``point``; else nothing.

    A record at the answer that is off the surface, one that is lower than its minimum, or runs around the answer most
    of which have no loss.
    """
    space, off = belief.space, max(OFF_NOISES * belief.seed_noise, LEAST_OFF)
    here = [y for one, y in zip(records.index, records.y, strict=True) if one == point]
    if here and not abs(float(np.median(here)) - lowest) <= off:
        loss = float(np.exp(np.median(here)))
        return f"the run at it has a loss of {loss:.4g}, not {np.exp(lowest):.4g}"
    if records.best[cell] < lowest - off:
        return f"a run has a loss of {np.exp(records.best[cell]):.4g}, below its lowest of {np.exp(lowest):.4g}"
    near = records.tried & (space.cell == cell)
    near[near] = np.linalg.norm(space.x[near] - space.x[point], axis=1) <= NEAR
    ran, lost = int(near.sum()), int((near & records.lost).sum())
    if ran >= FEWEST_NEAR and 2 * lost > ran:
        return f"{lost} of {ran} runs within an octave have no loss"
    return ""


def _draws(belief: Belief, rows: Index, rng: np.random.Generator) -> Array:
    """Return draws (draws, rows) of the noise-free surface."""
    covariance = belief.covariance[np.ix_(rows, rows)]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0) + JITTER)
    return np.asarray(belief.mu[rows] + rng.standard_normal((DRAWS, len(rows))) @ root.T)


def _words(space: CandidateSpace, records: Records, point: int, trust: float, against: str) -> str:
    """Return how far an answer can be trusted, or what contradicts it."""
    cell = space.cell[point]
    ran = np.flatnonzero(records.tried & ~records.lost & (space.cell == cell))
    near = int((np.linalg.norm(space.x[ran] - space.x[point], axis=1) <= NEAR).sum())
    empty = (
        "no run of this cell has a loss" if records.tried[space.cell == cell].any() else "nothing was run in this cell"
    )
    base = f"{counted(len(ran), 'run')}, {near} within an octave" if len(ran) else f"the law alone: {empty}"
    verdict = "trusted" if trust >= TRUSTED else "likely" if trust >= LOW_CONFIDENCE else "doubtful"
    members = space.settings[(space.cell == cell) & (space.recipe == space.recipe[point])]
    edges = [
        f"{'lowest' if space.settings[point, i] == members[:, i].min() else 'highest'} {knob.name}"
        for i, knob in enumerate(space.knobs)
        if members[:, i].min() < members[:, i].max()
        and space.settings[point, i] in (members[:, i].min(), members[:, i].max())
    ]
    edge = f"; at the {' and the '.join(edges)} of the candidates" if edges else ""
    if against:
        return f"not trusted: records contradict the surface ({against}), by {base}{edge}"
    return f"{verdict}: within 0.1 % of the best with probability {trust:.2f}, by {base}{edge}"
