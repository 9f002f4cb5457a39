"""Labels of axes: what N, D and the loss are in this table, with their units as far as they are known."""

from __future__ import annotations

from typing import Literal

from sweeplaw.analysis.report.charts.numbers import people
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


def noun(by: Axes, axis: Axis) -> str:
    """Return what N or D counts, in the plural: ``parameters``, ``tokens``, or the column if it is one's own."""
    column = by.n if axis == "N" else by.d
    usual = {**dict.fromkeys([*N_COLUMNS, "N"], "parameters"), **dict.fromkeys([D_COLUMN, "D"], "tokens")}
    return usual.get(column, column)


def larger(by: Axes, axis: Axis) -> str:
    """Return ``Larger models``, ``More data``, or ``Larger width`` of a column of one's own."""
    word = noun(by, axis)
    return {"parameters": "Larger models", "tokens": "More data"}.get(word, f"Larger {word}")


def amount(by: Axes, axis: Axis, value: float) -> str:
    """Return ``8 M parameters``, ``3 k tokens``, or ``width 8`` of a column of one's own."""
    word = noun(by, axis)
    return f"{people(value)} {word}" if word in ("parameters", "tokens") else f"{word} {people(value)}"


def point(by: Axes, n: float, d: float) -> str:
    """Return N and D of a run in words."""
    return f"{amount(by, 'N', n)}, {amount(by, 'D', d)}"


def loss_label(by: Axes, name: str = "") -> str:
    """Return ``validation loss (nats/token)``; ``name`` replaces that of the loss column."""
    return labelled(name or _NAMES.get(by.loss, by.loss), by.units.get(by.loss, ""))
