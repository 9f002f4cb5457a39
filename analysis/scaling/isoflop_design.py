"""The rows of an isoFLOP experiment by compute budget, and which of them lie near the optimum of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.derived.allocation import FLOPS_PER_ND
from sweeplaw.analysis.fitting.fitted_law import Fit

Array = np.ndarray

SAME_BUDGET = 0.10  # relative gap of compute below which neighbouring rows belong to one budget
WIDEST_BUDGET = 1.5  # largest over smallest compute of one budget: rows that run on in small steps have no budgets
MIN_SIZES = 4  # distinct N a parabola needs: three fix it, the fourth can contradict it
WINDOW = 0.03  # of a budget's least loss: rows farther above it say little of the minimum and bend the parabola
WIDEST = 0.10  # the window where WINDOW holds fewer than MIN_SIZES sizes


@dataclass(frozen=True, slots=True)
class IsoflopDesign:
    """Rows of an isoFLOP experiment by budget: N in parameters, D in tokens, compute k N D."""

    params: Array
    tokens: Array
    losses: Array
    flops: Array
    budget: Array

    @property
    def budgets(self) -> list[Array]:
        """The positions of the rows of each budget."""
        return [np.flatnonzero(self.budget == number) for number in range(int(self.budget.max()) + 1)]

    @property
    def usable(self) -> list[Array]:
        """The budgets that an optimum can be sought in (`fault`)."""
        return [members for members in self.budgets if not self.fault(members)]

    def fault(self, members: Array) -> str:
        """Return why no optimum can be sought in a budget, or an empty string."""
        sizes, spread = len(np.unique(self.params[members])), np.ptp(np.log(self.flops[members]))
        if sizes < MIN_SIZES:
            return f"{sizes} sizes, fewer than {MIN_SIZES}"
        if spread > np.log(WIDEST_BUDGET):
            return f"compute runs on over a factor of {np.exp(spread):.2g}, so the rows have no budgets"
        return ""

    def mean_flops(self, members: Array) -> float:
        """Return the geometric mean of the rows' compute."""
        return float(np.exp(np.mean(np.log(self.flops[members]))))


def design(fit: Fit, k: float = FLOPS_PER_ND) -> IsoflopDesign:
    """Group the rows of a fit into budgets of nearly equal compute."""
    units = fit.observations.units
    params, tokens = (fit.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D"))
    return grouped(params, tokens, fit.observations.losses, k)


def grouped(params: Array, tokens: Array, losses: Array, k: float = FLOPS_PER_ND) -> IsoflopDesign:
    """Group rows into budgets of nearly equal compute."""
    flops = k * params * tokens
    return IsoflopDesign(params, tokens, losses, flops, group_budgets(flops))


def group_budgets(flops: Array) -> Array:
    """Return the number of each row's budget: sorted compute is cut where it jumps by more than SAME_BUDGET."""
    order = np.argsort(flops, kind="stable")
    jumps = np.diff(np.log(flops[order]), prepend=np.log(flops[order[0]])) > np.log1p(SAME_BUDGET)
    numbers = np.empty(len(flops), dtype=int)
    numbers[order] = np.cumsum(jumps)
    return numbers


def windows(params: Array, losses: Array) -> tuple[Array, Array]:
    """Return which rows of one budget lie near its least loss, (batch, n), and how near in parts of it, (batch,).

    ``losses`` are (batch, n). The window is WINDOW, or as much as takes in MIN_SIZES sizes; above WIDEST it is empty.
    """
    least = losses.min(axis=1, keepdims=True)
    above = (losses - least) / np.abs(least)
    order = np.argsort(params, kind="stable")
    first = np.flatnonzero(np.diff(params[order], prepend=0.0) > 0)
    nearest = np.sort(np.minimum.reduceat(above[:, order], first, axis=1), axis=1)
    needed = nearest[:, MIN_SIZES - 1] if nearest.shape[1] >= MIN_SIZES else np.full(len(losses), np.inf)
    width = np.maximum(WINDOW, needed)
    return (above <= width[:, None]) & (width[:, None] <= WIDEST), width
