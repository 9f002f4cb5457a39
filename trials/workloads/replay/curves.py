"""The recorded curves of runs: the loss at some steps, from a column of a table or from the curves of a store."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.trials.errors import shown
from sweeplaw.trials.quantities import is_number

Curve = tuple[tuple[int, float], ...]  # steps and losses, in order

STEPS = "steps"  # the column of the number of steps of a run
MOST_FAULTS = 5  # rows of a column that are named


def curves(
    frame: pl.DataFrame, column: str | None, loss: str, points: pl.DataFrame | None, faults: list[str]
) -> tuple[tuple[Curve, ...], NDArray[np.int64]]:
    """Return the curve of each row, and its number of steps (0 where unknown).

    Curves are in a ``column`` of the table, or are the ``points`` of a store at which ``loss`` was measured. Append to
    ``faults`` the first rows that have something else.
    """
    steps = [0] * frame.height
    if STEPS in frame.columns and frame[STEPS].dtype.is_numeric():
        steps = [int(value) if value and value > 0 else 0 for value in frame[STEPS].fill_nan(None).to_list()]
    if column is not None:
        found = _listed(frame, column, steps, faults)
    elif points is not None and loss in points.columns:
        known = points.filter(pl.col(loss).is_finite()).sort("trial_id", "step")
        by_trial = {
            trial: tuple(zip(part["step"].to_list(), part[loss].to_list(), strict=True))
            for (trial,), part in known.group_by("trial_id")
        }
        found = [by_trial.get(trial, ()) for trial in frame["trial_id"]]
    else:
        return (), np.array(steps, dtype=np.int64)
    last = [max(count, curve[-1][0] if curve else 0) for count, curve in zip(steps, found, strict=True)]
    return tuple(found), np.array(last, dtype=np.int64)


def _listed(frame: pl.DataFrame, column: str, steps: Sequence[int], faults: list[str]) -> list[Curve]:
    found: list[Curve] = []
    bad: list[str] = []
    for number, value, count in zip(frame[""].to_list(), frame[column].to_list(), steps, strict=True):
        try:
            found.append(_curve(value, count))
        except (ValueError, TypeError, OverflowError, RecursionError):
            found.append(())
            bad.append(
                f"curve: row {number}: {shown(value)} (accepted: a list of losses, or of [step, loss] with increasing "
                "whole steps, also as JSON text)"
            )
    faults += bad[:MOST_FAULTS]
    return found


def _curve(value: Any, steps: int) -> Curve:
    """Return the curve in a cell of the table: losses at equal distances, or pairs. Raise ValueError or TypeError."""
    entries = json.loads(value) if isinstance(value, str) else value
    if entries is None:
        return ()
    if all(is_number(entry) for entry in entries):
        count = len(entries)
        entries = [(math.ceil(max(steps, count) * (n + 1) / count), loss) for n, loss in enumerate(entries)]
    curve = tuple((int(step), float(loss)) for step, loss in entries)
    if any(later[0] <= step for (step, _), later in itertools.pairwise(curve)) or (curve and curve[0][0] < 1):
        raise ValueError("steps do not increase")
    if any(int(step) != step for step, _ in entries):
        raise ValueError("a step is no whole number")
    return tuple(point for point in curve if math.isfinite(point[1]))
