"""The optimum of each cell by itself, under one curvature that all cells share: what a law is held against.

log L = f_c + g_c'x + x'Hx/2 over the runs near the best of their cell, by least squares: a law restricts where the
optima -H^-1 g_c lie, and this does not. A cell needs few runs for it, since it adds no curvature of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.quadratics.quadratic import hessians

Array = NDArray[np.float64]

TOLERANCE = 1e-8  # of the smallest over the largest singular value of a cell's knobs, below which it has no optimum


class NoMinimumError(ValueError):
    """The loss near the best runs has no minimum in the knobs."""


@dataclass(frozen=True, slots=True)
class OwnOptima:
    """``optima`` (cells, knobs): natural logs, NaN for a cell without one; ``covariances`` (cells, knobs, knobs).

    ``hessian`` (knobs, knobs) is the shared curvature of log loss, ``freedom`` the degrees of freedom of the noise.
    """

    optima: Array
    covariances: Array
    hessian: Array
    freedom: int

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which cells have an optimum (cells,)."""
        return np.asarray(np.isfinite(self.optima).all(axis=1))


def own_optima(table: CellTable, window: float) -> OwnOptima | None:
    """Return the optima of the cells from runs within ``window`` of the best of their cell.

    None if these runs are too few for a curvature and its error. Raise `NoMinimumError` if the loss does not rise from
    the best runs on all sides.
    """
    cells, knobs = len(table.cells), len(table.knobs)
    parts = [_Part.of(table, c, window) for c in range(cells)]
    products = np.concatenate([part.products for part in parts])
    z = np.concatenate([part.z for part in parts])
    curvature, _, rank, _ = np.linalg.lstsq(products, z, rcond=1e-10)
    usable = [part.usable for part in parts]
    freedom = len(z) - rank - sum(part.terms for part in parts)
    hessian = hessians(np.concatenate([np.zeros(1 + knobs), curvature])[None], knobs)[0]
    if rank < products.shape[1] or freedom < 1 or not any(usable):
        return None
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        raise NoMinimumError
    variance = float(((z - products @ curvature) ** 2).sum()) / freedom
    inverse = np.linalg.inv(hessian)
    optima, covariances = np.full((cells, knobs), np.nan), np.full((cells, knobs, knobs), np.nan)
    for c, part in enumerate(parts):
        if part.usable:
            slope, spread = part.slope(curvature), np.linalg.inv(part.gram) * variance
            optima[c], covariances[c] = part.middle - inverse @ slope, inverse @ spread @ inverse
    return OwnOptima(optima, covariances, hessian, freedom)


@dataclass(frozen=True, slots=True)
class _Part:
    """The runs of one cell near its best, about their middle; ``products`` and ``z`` are those left by its slopes."""

    middle: Array
    x: Array
    gram: Array
    usable: bool
    terms: int
    raw_products: Array
    raw_z: Array
    products: Array
    z: Array

    @classmethod
    def of(cls, table: CellTable, cell: int, window: float) -> _Part:
        rows = table.rows_of(cell)
        near = table.excess[rows] < window
        x, z = table.x[rows][near], table.z[rows][near]
        middle = x.mean(axis=0)
        x, z = x - middle, z - z.mean()
        i, j = np.triu_indices(x.shape[1])
        products = x[:, i] * x[:, j] * np.where(i == j, 0.5, 1.0)
        products = products - products.mean(axis=0)
        values = np.linalg.svd(x, compute_uv=False)
        usable = len(x) > x.shape[1] and values[-1] > TOLERANCE * values[0]
        terms = 1 + int((values > TOLERANCE * max(float(values[0]), 1e-300)).sum())
        slopes = np.linalg.pinv(x)
        return cls(middle, x, x.T @ x, bool(usable), terms, products, z,
                   products - x @ (slopes @ products), z - x @ (slopes @ z))  # fmt: skip

    def slope(self, curvature: Array) -> Array:
        """Return the slope (knobs,) of log loss at the middle, given the curvature's terms."""
        return np.asarray(np.linalg.pinv(self.x) @ (self.raw_z - self.raw_products @ curvature))
