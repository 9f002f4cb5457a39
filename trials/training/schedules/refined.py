"""A schedule refined from the gradient norms of a finished run (Defazio et al. 2023, arXiv:2310.07831, section 3).

With weights w_t = G_t^-2 of the gradient norms for SGD, or G_t^-1 for Adam and its relatives, the schedule is

    lr_t  proportional to  w_t (w_{t+1} + … + w_T)

which is the linear decay to zero for constant norms. The paper takes the l1 norm for Adam; here it is the l2 norm that
curves record, of the same shape as long as the gradient's distribution keeps its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
WINDOW = 0.1  # of the median filter, as a share of the run
POINTS = 24  # that the schedule is written with


def refined(steps: Sequence[int], norms: Sequence[float], total_steps: int, power: float) -> list[tuple[float, float]]:
    """Return the schedule as points: shares of the run, and of the peak.

    ``norms`` are the gradient norms after ``steps`` updates of a run of ``total_steps``, and ``power`` is 2 for SGD and
    1 for Adam. Raise ValueError for fewer than three norms, or one that is not above 0.
    """
    known = np.asarray(norms, dtype=float)
    if len(known) < 3 or not (np.isfinite(known) & (known > 0)).all():
        raise ValueError(f"{len(known)} gradient norms (accepted: three or more, all above 0)")
    places = (np.arange(total_steps) + 0.5) / total_steps
    at = (np.asarray(steps, dtype=float) - 0.5) / total_steps
    smooth = np.exp(np.interp(places, at, np.log(_median_filtered(known))))
    weights = smooth**-power
    heights = weights * (np.cumsum(weights[::-1])[::-1] - weights)
    grid = np.linspace(0.0, 1.0, POINTS + 1)
    found = np.interp(grid, [*places, 1.0], [*heights, 0.0]) / heights.max()
    return [(float(place), float(height)) for place, height in zip(grid, np.minimum(found, 1.0), strict=True)]


def _median_filtered(norms: Floats) -> Floats:
    """Replace each norm by the median of those within half of `WINDOW` of it, ends repeated."""
    half = max(1, round(WINDOW * len(norms) / 2))
    padded = np.pad(norms, half, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=-1))
