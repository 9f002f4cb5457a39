"""The residuals of a fit at its distinct points, and what of them the law could still absorb.

Rows at one point are averaged; what they scatter around their mean is pure error. Residuals are clipped at CLIP robust
standard deviations, so that single outliers are no lack of fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.solver.newton import minimise
from sweeplaw.analysis.fitting.solver.solve import set_up

Array = np.ndarray

CLIP = 3.0  # robust standard deviations
MOST_ROWS = 5000  # that are judged; of more rows as many are drawn, by which a misfit of a tenth of the noise shows


@dataclass(frozen=True, slots=True)
class FitPoints:
    """Distinct points of a fit: inputs (m,), mean clipped residual and weight of each, and the law's tangents.

    ``basis`` (m, p) are orthonormal directions in which the law's parameters move the weighted residuals.
    ``pure_squares`` and ``pure_freedom`` are the sum of squares of rows around their point, and its degrees of freedom.
    ``relative`` turns residuals into parts of the loss.
    """

    inputs: Mapping[str, Array]
    residual: Array
    weight: Array
    basis: Array
    pure_squares: float
    pure_freedom: int
    relative: float
    params: int

    @property
    def left(self) -> Array:
        """The weighted residuals orthogonal to the tangents, which no small change of the parameters removes: (m,)."""
        return self.without(np.sqrt(self.weight) * self.residual)

    def without(self, columns: Array) -> Array:
        """Return columns (m,) or (m, q) without their part along the law's tangents."""
        return np.asarray(columns - self.basis @ (self.basis.T @ columns))


def robust_scale(residual: Array, params: int) -> float:
    """Return the standard deviation of residuals by their median size, for a law of ``params`` parameters.

    If more than half of the rows have no residual, it is that of all rows.
    """
    freedom = max(len(residual) - params, 1)
    size = float(np.median(np.abs(residual))) / 0.6745 or float(np.sqrt(np.mean(residual**2)))
    return size * float(np.sqrt(len(residual) / freedom))


def points(fit: Fit) -> FitPoints:
    """Return the distinct points of a fit."""
    seen, count = fit.observations, len(fit.law.names)
    residual, scale = fit.residuals, robust_scale(fit.residuals, count)
    clipped = np.clip(residual, -CLIP * scale, CLIP * scale)
    frame = pl.DataFrame({**seen.inputs, "__weight": seen.weights, "__residual": clipped})
    grouped = frame.group_by(list(seen.inputs), maintain_order=True).agg(
        weight := pl.col("__weight").sum(),
        mean=(pl.col("__weight") * pl.col("__residual")).sum() / weight,
        square=(pl.col("__weight") * pl.col("__residual") ** 2).sum(),
    )
    inputs = {name: grouped[name].to_numpy() for name in seen.inputs}
    mean, total = grouped["mean"].to_numpy(), grouped["__weight"].to_numpy()
    basis, size = _tangents(fit, inputs, total), float(np.mean(seen.weights))
    pure = float(np.sum(grouped["square"].to_numpy() - total * mean**2)) / size
    relative = 1.0 if fit.objective.space == "log" else 1 / float(np.median(np.abs(seen.losses)))
    spare = len(residual) - len(mean)
    return FitPoints(inputs, mean, total / size, basis, max(pure, 0.0), spare, relative, count)


def _tangents(fit: Fit, inputs: Mapping[str, Array], weight: Array) -> Array:
    """Return an orthonormal basis of the weighted derivatives by the parameters, in the objective's space: (m, p)."""
    gradient = fit.law.gradient(fit.params, inputs)
    if fit.objective.space == "log":
        gradient = gradient / fit.law.predict(fit.params, inputs)[:, None]
    columns = np.nan_to_num(gradient * np.sqrt(weight)[:, None], posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(columns, axis=0)
    return orthonormal(columns[:, lengths > 0] / lengths[lengths > 0])


def orthonormal(columns: Array) -> Array:
    """Return an orthonormal basis of the space that columns (m, q) of order 1 span."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(vectors[:, sizes > 1e-8 * sizes[0]])


def judged(fit: Fit) -> Fit:
    """Return the fit itself, or with more than MOST_ROWS rows that of as many drawn from them at random."""
    if fit.rows_used <= MOST_ROWS:
        return fit
    rows = np.sort(np.random.default_rng(0).choice(fit.rows_used, MOST_ROWS, replace=False))
    few = _taken(fit.observations, rows)
    setup = set_up(fit.law, fit.objective, few.inputs, few.losses, few.weights)
    start = setup.to_centred_units(fit.theta[None])
    theta = minimise(setup.problem, start, setup.delta, setup.box).theta
    params = dict(zip(fit.law.names, setup.to_law_units(theta)[0].tolist(), strict=True))
    solution = replace(fit.solution, theta=theta[0])
    return replace(fit, observations=few, setup=setup, solution=solution, params=params, draws=None)


def _taken(observations: Observations, rows: Array) -> Observations:
    return replace(
        observations,
        inputs={name: column[rows] for name, column in observations.inputs.items()},
        frame=observations.frame[rows],
        **{name: getattr(observations, name)[rows] for name in ("losses", "weights", "rows")},
    )
