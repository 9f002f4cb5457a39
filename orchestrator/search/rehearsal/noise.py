"""The noise of a recorded table, and the regret below which it decides.

It is that of repeats where there are enough. Otherwise it is what smooth surfaces near the best of each cell leave, and
what runs of one value of a knob share, where that shows (`shared_noise`). Other noise that neighbouring settings share
is taken for surface: only repeated runs can separate the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweeplaw.orchestrator.search.contract import Setting
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace
from sweeplaw.orchestrator.search.rehearsal.shared_noise import NearRuns, shared_noise
from sweeplaw.trials.quantities import percent
from sweeplaw.trials.workloads.replay.surface import Array, Surface, smooth

WIDE = 0.05  # relative excess of a loss within which a first surface is laid
# Then the settings at which that is within 1 % of its lowest, and at least FEWEST, because noise grows with the loss.
# They are chosen by the surface: the lowest losses would have less noise than others.
NEAR, FEWEST = 0.01, 20
FEWEST_REPEATS = 10  # degrees of freedom from which repeats give the noise
RESIDUALS = "from the residuals of smooth surfaces"


@dataclass(frozen=True, slots=True)
class TableNoise:
    """``sd``: relative standard deviation of one run's loss, None if unknown, and where it comes from (``basis``).

    ``regret``: mean regret over cells of the best setting of the noise-free surface, which perfect knowledge would
    choose; a lower regret is luck (with shared noise: as expected over draws of it). ``optima`` are these settings.
    ``shared``: the part of ``sd`` that runs of one value of the knob ``shared_by`` have in common, 0 where none shows.
    """

    sd: float | None
    basis: str
    regret: float
    optima: tuple[Setting, ...]
    shared: float = 0.0
    shared_by: str = ""

    def sentence(self) -> str:
        """Return the regret below which differences are noise, in words."""
        known = "" if self.sd is None else f"; one run's loss varies by {percent(self.sd, '.3f')} ({self.basis})"
        if self.shared:
            known += f", of which runs of one {self.shared_by} share {percent(self.shared, '.3f')}"
        elif self.sd is not None and self.basis == RESIDUALS:
            known += "; noise that neighbouring settings share would pass for surface: only repeated runs can reveal it"
        within = f"differences below {percent(self.regret, '.3f')} are within the table's own noise"
        return f"{within}: the noise-free optimum scores that{known}"


def noise(space: RecordedSpace) -> TableNoise:
    """Return the noise of the runs of a recorded space, from repeats or else from residuals of smooth surfaces."""
    if (found := _with_shared(space)) is not None:
        return found
    optima, regrets, squares, degrees = [], [], 0.0, 0
    for cell, members in enumerate(space.members):
        near = _near(space, cell, members)
        _, heights = _surface(space, near)
        order = np.argsort(heights)
        close = [near[n] for n in order[: max(FEWEST, int((heights <= heights.min() * (1 + NEAR)).sum()))]]
        surface, heights = _surface(space, close)
        optima.append(close[int(np.argmin(heights))])
        regrets.append(space.outcomes[optima[-1]].loss / space.least[cell] - 1)
        if math.isfinite(surface.noise):
            squares, degrees = squares + surface.degrees * surface.noise**2, degrees + surface.degrees
    sd, basis = _of_repeats(space)
    if sd is None and degrees:
        sd, basis = math.sqrt(squares / degrees), RESIDUALS
    return TableNoise(sd, basis, float(np.mean(regrets)), tuple(optima))


def _of_repeats(space: RecordedSpace) -> tuple[float | None, str]:
    """Return the noise of a run from repeated settings, None if they are too few, and its origin."""
    repeats = [np.log(recorded.losses) for recorded in space.outcomes.values() if len(recorded.losses) > 1]
    repeated = sum(len(losses) - 1 for losses in repeats)
    if repeated < FEWEST_REPEATS:
        return None, "unknown"
    total = sum(float(((losses - losses.mean()) ** 2).sum()) for losses in repeats)
    return math.sqrt(total / repeated), f"from {len(repeats)} repeated settings"


def _near(space: RecordedSpace, cell: int, members: Sequence[Setting]) -> list[Setting]:
    """Return the settings of a cell within WIDE of its best, or the best FEWEST."""
    finite = [one for one in members if math.isfinite(space.outcomes[one].loss)]
    near = sorted(finite, key=lambda one: space.outcomes[one].loss)
    return near[: max(FEWEST, sum(space.outcomes[one].loss <= space.least[cell] * (1 + WIDE) for one in near))]


def _with_shared(space: RecordedSpace) -> TableNoise | None:
    """Return the noise with what runs of one value of a knob share, None where none shows or all knobs are texts."""
    numeric = [axis.names[0] for axis in space.axes if not math.isnan(axis.low)]
    if len(numeric) < 2 or len(numeric) < len(space.axes):
        return None
    sets = [_near(space, cell, members) for cell, members in enumerate(space.members)]
    if (shared := shared_noise([_near_runs(space, _by_quadratic(space, settings)) for settings in sets])) is None:
        return None
    runs = [_near_runs(space, settings) for settings in sets]
    optima = [settings[int(np.argmin(shared.surface(one)))] for settings, one in zip(sets, runs, strict=True)]
    # Not the regret of the optima themselves: a surface through runs with shared noise follows it in part.
    regrets = [shared.regret(one, cell) for cell, one in enumerate(runs)]
    sd, basis = _of_repeats(space)
    name = numeric[shared.knob]
    if sd is not None:  # repeats share what their setting shares: their differences are the noise of a run alone
        sd = math.hypot(sd, shared.shared)
    return TableNoise(
        shared.sd if sd is None else sd, RESIDUALS if sd is None else basis, float(np.mean(regrets)), tuple(optima),
        shared.shared, name,
    )  # fmt: skip


def _by_quadratic(space: RecordedSpace, near: list[Setting]) -> list[Setting]:
    """Return the settings at which a quadratic through all of them is within NEAR of its lowest, FEWEST at least."""
    runs = _near_runs(space, near)
    heights = runs.trend @ np.linalg.lstsq(runs.trend, runs.z, rcond=None)[0]
    order = np.argsort(heights)
    return [near[n] for n in order[: max(FEWEST, int((heights <= heights.min() + NEAR).sum()))]]


def _near_runs(space: RecordedSpace, settings: list[Setting]) -> NearRuns:
    return NearRuns(_coordinates(space, settings), np.log([space.outcomes[one].loss for one in settings]))


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
