"""The regret that no unbiased estimate can be below: a Cramér-Rao bound for runs chosen greedily, a quadratic planted.

Log losses are a level for each cell and a quadratic around an optimum that is linear in the sizes, with normal noise.
The expected regret of a cell is (u - u*)'Q(u - u*), whose mean over cells is a quadratic form in the errors of the
parameters, so that its bound is the trace of that form times the inverse of Fisher's information. The design knows
the truth. It always takes the run that lowers the bound most for its FLOPs, among those near the optima, because only
there would anyone believe that a loss is quadratic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.searching.truths import CURVATURE, NOISE, layout

Array = NDArray[np.float64]

NEAR = 0.02  # excess over the cell's optimum up to which runs are used
VAGUE = 1.0  # prior sd of every parameter, in log loss per octave and per squared octave: next to nothing is known
PRIOR_LEVEL = 10.0


def bounds(shares: Sequence[float], optima: Array, shape: Array = CURVATURE) -> list[tuple[float, int]]:
    """Return the bound on the mean regret and the number of runs at each share of the grid's FLOPs, increasing.

    ``optima`` (cells, 2) lie on a law, and ``shape`` is Q.
    """
    here = layout()
    z, cells = here.z[here.cell], len(here.z)
    x = here.x
    linear = [x[:, i] * size for i in range(2) for size in (np.ones(len(x)), z[:, 0], z[:, 1])]
    squares = [x[:, 0] ** 2, 2 * x[:, 0] * x[:, 1], x[:, 1] ** 2]
    design = np.stack([*linear, *squares, *(here.cell[:, None] == np.arange(cells)).T.astype(float)], axis=1)
    form = _regret_form(optima, shape, here.z, design.shape[1])
    prior = np.full(design.shape[1], VAGUE)
    prior[9:] = PRIOR_LEVEL
    away = x - optima[here.cell]
    used = np.einsum("ri,ij,rj->r", away, shape, away) > NEAR
    covariance, runs = np.diag(prior**2), 0
    cost = 6 * np.prod(here.frame.select("N", "D").to_numpy().astype(float), axis=1)
    found, spent, total = [], 0.0, float(cost.sum())
    for share in shares:
        while True:
            spread = design @ covariance  # (rows, parameters)
            gain = np.einsum("rp,pq,rq->r", spread, form, spread) / (NOISE**2 + (spread * design).sum(axis=1))
            gain[used | (spent + cost > share * total)] = 0.0
            row = int(np.argmax(gain / cost))
            if gain[row] <= 0:
                break
            one = spread[row]
            covariance = covariance - np.outer(one, one) / (NOISE**2 + float(one @ design[row]))
            used[row], spent, runs = True, spent + float(cost[row]), runs + 1
        found.append((float(np.trace(form @ covariance)), runs))
    return found


def _regret_form(optima: Array, shape: Array, z: Array, size: int) -> Array:
    """Return the quadratic form (parameters, parameters) of the mean regret in the errors of the parameters.

    The optimum is -Q^-1 b / 2, so its error is -Q^-1 (db + 2 dQ u) / 2.
    """
    form = np.zeros((size, size))
    for u, (n, d) in zip(optima, z, strict=True):
        jacobian = np.zeros((2, size))
        jacobian[0, :3] = jacobian[1, 3:6] = (1, n, d)
        jacobian[0, 6:9] = (2 * u[0], 2 * u[1], 0)
        jacobian[1, 6:9] = (0, 2 * u[0], 2 * u[1])
        jacobian = -np.linalg.solve(shape, jacobian) / 2
        form += jacobian.T @ shape @ jacobian / len(z)
    return form
