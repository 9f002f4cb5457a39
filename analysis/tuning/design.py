"""Designs that cannot determine a law for an optimum, and why: too few cells, a knob that was not tuned within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.tables.levels import SAME_LEVEL
from sweeplaw.analysis.tuning.cell_settings import WINDOWS
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent

if TYPE_CHECKING:
    from sweeplaw.analysis.tuning.cells import CellTable

Array = NDArray[np.float64]

TOGETHER = 0.999  # correlation of logs above which two columns count as one
LEAST_SPAN = 1.05  # an axis whose largest value is within 5 % of its smallest has no exponent
LEAST_LEVELS = 3  # of a knob in a cell, for an optimum: a parabola has three coefficients


class Untuned(InputError):
    """Knobs without a law, since they were not tuned within cells.

    ``refused``: the reason by knob; ``able``: other knobs whose law can be asked for; ``more``: further faults.
    """

    def __init__(self, refused: Mapping[str, str], able: Sequence[str], more: Sequence[str] = ()) -> None:
        self.refused, self.able, self.more = dict(refused), tuple(able), tuple(more)
        known = f"tuned within cells: {', '.join(able)} ({' '.join(f'--knob {name}' for name in able)})"
        super().__init__([*more, *refused.values()], hints=[known] * bool(able))

    def __reduce__(self) -> tuple[object, ...]:
        return Untuned, (self.refused, self.able, self.more)


def check_design(table: CellTable, levels: Mapping[str, int]) -> None:
    """Raise InputError with every reason why ``table`` has no law, an `Untuned` if knobs were not tuned.

    ``levels`` is the largest number of values in a cell of each knob, those held included, before these were held.
    """
    few = _cell_faults(table)
    refused = _untuned(table, levels) or _together(table)
    if refused:
        able = [name for name in table.knobs if name not in refused]
        able += [name for name in table.held if levels[name] >= LEAST_LEVELS]
        raise Untuned(refused, [] if few else able, few)
    if few:
        raise InputError(few)


def require_levels(table: CellTable) -> None:
    """Raise `Untuned` for knobs with too few levels in every cell for an optimum."""
    counts = {name: max(levels_by_cell(table, k)) for k, name in enumerate(table.knobs)}
    refused = {
        name: f"{name} has at most {count} levels in a cell, and an optimum needs {LEAST_LEVELS}: add values of {name} "
        "under [nuisance] of the sweep"
        for name, count in counts.items()
        if count < LEAST_LEVELS
    }
    if refused:
        raise Untuned(refused, [name for name in table.knobs if name not in refused])


def levels_by_cell(table: CellTable, knob: int, *, near: bool = False) -> list[int]:
    """Return the number of levels of a knob in each cell; ``near``: among the rows within the last of WINDOWS alone."""
    rows = table.excess < WINDOWS[-1] if near else np.ones(len(table.z), dtype=bool)
    levels, cell = table.levels[rows, knob], table.cell[rows]
    return [len(np.unique(levels[cell == c])) for c in range(len(table.cells))]


def at_edges(table: CellTable) -> dict[str, tuple[int, int]]:
    """Return, by knob, the number of cells whose lowest loss is at the lowest and at the highest value tried there.

    Where zero was tried too, the lowest positive value is not the lowest. Beyond an end where runs diverged, no better
    value is expected.
    """
    parts = [(table.levels[rows], int(table.z[rows].argmin())) for rows in map(table.rows_of, range(len(table.cells)))]
    several = [(levels, best, np.ptp(levels, axis=0) > 0) for levels, best in parts]
    low = np.array([(levels[best] == levels.min(axis=0)) & varied for levels, best, varied in several])
    high = np.array([(levels[best] == levels.max(axis=0)) & varied for levels, best, varied in several])
    low &= ~table.zeros & ~table.bounded[..., 0]
    high &= ~table.bounded[..., 1]
    ends = zip(low.sum(axis=0).tolist(), high.sum(axis=0).tolist(), strict=True)
    return dict(zip(table.knobs, ends, strict=True))


def no_minimum(table: CellTable, where: str) -> InputError:
    """Return why no minimum in the knobs is found near the cells' best runs, as far as the runs show it.

    It is an `Untuned` if some knobs, and not all, have their best value at an end in most cells.
    """
    cells, ends = len(table.cells), at_edges(table)
    fault = "the loss near the best runs of the cells has no minimum in the knobs, so there is no law"
    near = {name: max(levels_by_cell(table, k, near=True)) for k, name in enumerate(table.knobs)}
    if sparse := [name for name, count in near.items() if count < LEAST_LEVELS]:
        fault = (
            f"no cell has {LEAST_LEVELS} values of {' or '.join(sparse)} within {percent(WINDOWS[-1])} of its lowest "
            "loss, so no minimum can be fitted: add values close to the best one, or seeds if the losses are noisy"
        )
    sentences = {name: _at_ends(name, *counts, cells) for name, counts in ends.items() if any(counts)}
    refused = {name: f"{name} has no law: {sentences[name]}" for name in ends if sum(ends[name]) > cells / 2}
    able = [name for name in table.knobs if name not in refused]
    if refused and able:
        return Untuned(refused, able, [fault])
    return InputError(fault, where=where, hints=list(sentences.values()))


def _at_ends(name: str, low: int, high: int, cells: int) -> str:
    ends = [f"lowest {name} tried in {low}"] * bool(low) + [f"highest {name} tried in {high}"] * bool(high)
    wider = " and ".join(["smaller"] * bool(low) + ["larger"] * bool(high))
    return f"the lowest loss is at the {' and at the '.join(ends)} of {cells} cells: add {wider} values"


def _cell_faults(table: CellTable) -> list[str]:
    cells = len(table.cells)
    if cells == 1:
        label = ", ".join(
            f"{name} = {value:g}" for name, value in table.label(0).items() if isinstance(value, int | float)
        )
        return [
            f"one cell only ({label}): a law over {', '.join(table.axes)} needs at least {len(table.axes) + 2} cells"
        ]
    if cells < 3:
        return [f"{cells} cells only: a law needs at least 3"]
    return []


def _untuned(table: CellTable, levels: Mapping[str, int]) -> dict[str, str]:
    """Return a fault for each knob that was not tuned within a cell."""
    faults = {}
    within = table.x - _cell_means(table)
    for k, name in enumerate(table.knobs):
        if np.ptp(table.x[:, k]) < np.log1p(SAME_LEVEL):
            faults[name] = f"{name} has a single value, {np.exp(table.x[0, k]):.4g}: there is nothing to tune"
        elif np.abs(within[:, k]).max() < np.log1p(SAME_LEVEL):
            axes = " and ".join((*table.axes, *table.held) if levels[name] > 1 else table.axes)
            faults[name] = (
                f"{name} takes one value in each cell: it was set by {axes} and not tuned within a cell, so its law "
                f"would be the rule that set it (1 level a cell, {LEAST_LEVELS} are needed: make {name} an axis under "
                "[nuisance] of the sweep)"
            )
    return faults


def _together(table: CellTable) -> dict[str, str]:
    """Return a fault for each knob that moved together with an earlier one."""
    within = table.x - _cell_means(table)
    return {
        table.knobs[i]: f"{table.knobs[j]} and {table.knobs[i]} moved together; their exponents cannot be distinguished"
        for i in range(len(table.knobs))
        for j in reversed(range(i))
        if abs(np.corrcoef(within[:, i], within[:, j])[0, 1]) > TOGETHER
    }


def _cell_means(table: CellTable) -> Array:
    counts = np.bincount(table.cell)
    means = np.stack([np.bincount(table.cell, weights=column) / counts for column in table.x.T], axis=1)
    return means[table.cell]
