"""Space of a search: the candidates with their cell, settings, recipe and cost, and their coordinates.

A knob on a log axis is measured in octaves, one on a linear axis in sixths of its range, so that a unit is about one
step of a usual grid on either. Cells are measured in octaves of their axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.quantities import short

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SCALES = ("log", "linear")
LINEAR_UNITS = 6  # units in the range of a linear axis: a range of learning rates has about six octaves


@dataclass(frozen=True, slots=True)
class NumericKnob:
    """A numeric knob and its scale, ``log`` or ``linear``."""

    name: str
    scale: str = "log"


@dataclass(frozen=True, slots=True, eq=False)
class CandidateSpace:
    """The candidates of a search, each a point of a cell (the axes of the law) with settings of its knobs.

    ``cells`` (cells, axes), ``cell`` (points,), ``settings`` (points, knobs), ``cost`` (points,) in FLOPs, ``recipe``
    (points,): the combination of categorical knobs, named in ``recipes``. ``x`` (points, knobs) and ``z`` (cells, axes)
    are coordinates, centred; ``unit`` (knobs,) is the size of one unit of x (in octaves on a log axis). A surface is a
    recipe in a cell: ``surface`` (points,), ``surface_cell`` and ``surface_recipe`` (surfaces,).
    """

    knobs: tuple[NumericKnob, ...]
    axes: tuple[str, ...]
    cells: Array
    cell: Index
    settings: Array
    cost: Array
    recipe: Index
    recipes: tuple[str, ...]
    x: Array
    z: Array
    unit: Array
    surface: Index
    surface_cell: Index
    surface_recipe: Index

    @classmethod
    def of(
        cls,
        knobs: Sequence[NumericKnob],
        axes: Sequence[str],
        cells: ArrayLike,
        cell: ArrayLike,
        settings: ArrayLike,
        cost: ArrayLike,
        recipe: ArrayLike | None = None,
        recipes: Sequence[str] = ("",),
    ) -> CandidateSpace:
        """Return the space of these candidates. Raise InputError with every fault of the arrays.

        With no axes, ``cells`` has one row and no columns.
        """
        values = {name: np.asarray(value, dtype=float) for name, value in _named(cells, settings, cost)}
        place = np.asarray(cell, dtype=np.int64)
        kinds = np.zeros(len(place), dtype=np.int64) if recipe is None else np.asarray(recipe, dtype=np.int64)
        values["cells"] = values["cells"].reshape(-1, len(axes)) if len(axes) else np.zeros((1, 0))
        if faults := _faults(knobs, axes, values, place, kinds, recipes):
            raise InputError(faults, where="search space")
        x, unit = _coordinates(knobs, values["settings"])
        z = np.log2(values["cells"])
        pairs, surface = np.unique(np.stack([place, kinds], 1), axis=0, return_inverse=True)
        return cls(
            knobs=tuple(knobs),
            axes=tuple(axes),
            cells=values["cells"],
            cell=place,
            settings=values["settings"],
            cost=values["cost"],
            recipe=kinds,
            recipes=tuple(recipes),
            x=x,
            z=z - z.mean(axis=0),
            unit=unit,
            surface=surface.reshape(-1),
            surface_cell=pairs[:, 0],
            surface_recipe=pairs[:, 1],
        )

    def __len__(self) -> int:
        return len(self.cost)

    def cell_name(self, cell: int) -> str:
        """Return a cell in words: ``N = 214M, D = 4B``."""
        return ", ".join(f"{axis} = {short(v)}" for axis, v in zip(self.axes, self.cells[cell], strict=True))

    def at(self, target: Sequence[float]) -> Array:
        """Return the coordinates (axes,) of a target that need not be a cell. Raise InputError if it has none."""
        if len(target) != len(self.axes) or not all(value > 0 for value in target):
            wanted = ", ".join(self.axes) or "nothing"
            raise InputError(f"target = {shown(tuple(target))} (accepted: a positive value for each of {wanted})")
        return np.asarray(np.log2(np.asarray(target, dtype=float)) - np.log2(self.cells).mean(axis=0))


def _named(cells: Any, settings: Any, cost: Any) -> list[tuple[str, Any]]:
    return [("cells", cells), ("settings", settings), ("cost", cost)]


def _faults(
    knobs: Sequence[NumericKnob],
    axes: Sequence[str],
    values: dict[str, Array],
    cell: Index,
    recipe: Index,
    recipes: Sequence[str],
) -> list[str]:
    """Return what is wrong with the arrays of a space."""
    points, settings = len(cell), values["settings"]
    faults = [
        f"scale of {knob.name} = {shown(knob.scale)} (accepted: {', '.join(SCALES)}){nearest(knob.scale, SCALES)}"
        for knob in knobs
        if knob.scale not in SCALES
    ]
    if not points:
        return [*faults, "no candidates (accepted: at least one point)"]
    if not knobs:
        faults.append("no numeric knob (accepted: at least one; categorical knobs alone are no surface)")
    if settings.shape != (points, len(knobs)):
        return [*faults, f"settings have the shape {settings.shape} (accepted: {(points, len(knobs))})"]
    if values["cost"].shape != (points,) or recipe.shape != (points,):
        return [*faults, f"cost and recipe need one value for each of {points} points"]
    if cell.min() < 0 or cell.max() >= len(values["cells"]) or len(np.unique(cell)) < len(values["cells"]):
        faults.append(
            f"cells of the points are {cell.min()} to {cell.max()} (accepted: each of {len(values['cells'])})"
        )
    if recipe.min() < 0 or recipe.max() >= len(recipes):
        faults.append(f"recipes of the points are {recipe.min()} to {recipe.max()} (accepted: 0 to {len(recipes) - 1})")
    positive = {f"axis {axis}": values["cells"][:, i] for i, axis in enumerate(axes)} | {"cost": values["cost"]}
    positive |= {f"knob {k.name} on a log axis": settings[:, i] for i, k in enumerate(knobs) if k.scale == "log"}
    faults += [
        f"{name} has the value {float(bad[0]):g} (accepted: positive numbers)"
        for name, column in positive.items()
        if len(bad := column[~((column > 0) & np.isfinite(column))])
    ]
    if not np.isfinite(settings).all():
        faults.append("settings have a value that is not finite")
    return faults


def _coordinates(knobs: Sequence[NumericKnob], settings: Array) -> tuple[Array, Array]:
    """Return the coordinates (points, knobs) from the middle of the box, and the size of a unit for each knob."""
    raw = np.stack([np.log2(v) if k.scale == "log" else v for k, v in zip(knobs, settings.T, strict=True)], axis=1)
    low, high = raw.min(axis=0), raw.max(axis=0)
    unit = np.array(
        [1.0 if k.scale == "log" else (h - a) / LINEAR_UNITS or 1.0 for k, a, h in zip(knobs, low, high, strict=True)]
    )
    return (raw - (low + high) / 2) / unit, unit
