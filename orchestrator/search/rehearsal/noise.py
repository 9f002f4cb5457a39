"""The noise of a recorded table, and the regret below which it decides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeplaw.orchestrator.search.contract import Setting
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace
from sweeplaw.trials.workloads.replay.surface import Array, Surface, smooth

WIDE = 0.05  # relative excess of a loss within which a first surface is laid
# Then the settings at which that is within 1 % of its lowest, and at least so many, because noise grows with the loss.
# They are chosen by the surface: the lowest losses would have less noise than others.
NEAR, FEWEST = 0.01, 20
FEWEST_REPEATS = 10  # degrees of freedom from which repeats give the noise


@dataclass(frozen=True, slots=True)
class TableNoise:
    """``sd``: relative standard deviation of one run's loss, None if unknown, and where it comes from (``basis``).

    ``regret``: mean regret over cells of the best setting of the noise-free surface, which perfect knowledge would
    choose; a lower regret is luck. ``optima`` are these settings.
    """

    sd: float | None
    basis: str
    regret: float
    optima: tuple[Setting, ...]

    def sentence(self) -> str:
        """Return the regret below which differences are noise, in words."""
        known = "" if self.sd is None else f"; one run's loss varies by {self.sd:.3%} ({self.basis})"
        within = f"differences below {self.regret:.3%} are within the table's own noise"
        return f"{within}: the noise-free optimum scores that{known}"


def noise(space: RecordedSpace) -> TableNoise:
    """Return the noise of the runs of a recorded space, from repeats or else from residuals of smooth surfaces."""
    optima, regrets, squares, degrees = [], [], 0.0, 0
    for cell, members in enumerate(space.members):
        finite = [one for one in members if math.isfinite(space.outcomes[one].loss)]
        near = sorted(finite, key=lambda one: space.outcomes[one].loss)
        near = near[: max(FEWEST, sum(space.outcomes[one].loss <= space.least[cell] * (1 + WIDE) for one in near))]
        _, heights = _surface(space, near)
        order = np.argsort(heights)
        close = [near[n] for n in order[: max(FEWEST, int((heights <= heights.min() * (1 + NEAR)).sum()))]]
        surface, heights = _surface(space, close)
        optima.append(close[int(np.argmin(heights))])
        regrets.append(space.outcomes[optima[-1]].loss / space.least[cell] - 1)
        if math.isfinite(surface.noise):
            squares, degrees = squares + surface.degrees * surface.noise**2, degrees + surface.degrees
    repeats = [np.log(recorded.losses) for recorded in space.outcomes.values() if len(recorded.losses) > 1]
    repeated = sum(len(losses) - 1 for losses in repeats)
    sd: float | None = None
    basis = "unknown"
    if repeated >= FEWEST_REPEATS:
        total = sum(float(((losses - losses.mean()) ** 2).sum()) for losses in repeats)
        sd, basis = math.sqrt(total / repeated), f"from {len(repeats)} repeated settings"
    elif degrees:
        sd, basis = math.sqrt(squares / degrees), "from the residuals of smooth surfaces"
    return TableNoise(sd, basis, float(np.mean(regrets)), tuple(optima))


def _surface(space: RecordedSpace, settings: list[Setting]) -> tuple[Surface, Array]:
    """Return the surface through these settings, and its losses there."""
    points = _coordinates(space, settings)
    surface = smooth(points, np.array([space.outcomes[one].loss for one in settings]))
    return surface, surface(points)


def _coordinates(space: RecordedSpace, settings: list[Setting]) -> Array:
    """Return numeric knobs in octaves, or in sixths of their range where they have no logarithm: (settings, knobs)."""
    columns = []
    for place, axis in enumerate(space.axes):
        if math.isnan(axis.low):
            continue
        values = np.array([float(setting.values[place][0]) for setting in settings])
        columns.append(np.log2(values) if axis.log else values / ((axis.high - axis.low) / 6 or 1.0))
    return np.stack(columns, axis=1) if columns else np.zeros((len(settings), 0))
