"""Labels of axes: what N, D and the loss are in this table, with their units as far as they are known."""

from __future__ import annotations

from typing import Literal

from sweeplaw.analysis.tables.families import D_COLUMN, N_COLUMNS, Axes
from sweeplaw.analysis.tables.units import labelled

Axis = Literal["N", "D"]

AXES: tuple[Axis, Axis] = ("N", "D")
_NAMES = {"val_loss": "validation loss", "train_loss": "training loss"}


def axis_label(by: Axes, axis: Axis) -> str:
    """Return ``D, training tokens``, ``D, examples (tokens)`` or ``N (width)``: the unit, the column if it differs."""
    column = by.n if axis == "N" else by.d
    unit = by.units.get(column, "")
    if unit in ("", "parameters", "tokens"):
        unit = {**dict.fromkeys(N_COLUMNS, "parameters"), D_COLUMN: "training tokens"}.get(column, unit)
    label = f"{axis}, {unit}" if unit else axis
    return label if column in label else f"{label} ({column})"


def loss_label(by: Axes, name: str = "") -> str:
    """Return ``validation loss (nats/token)``; ``name`` replaces that of the loss column."""
    return labelled(name or _NAMES.get(by.loss, by.loss), by.units.get(by.loss, ""))
