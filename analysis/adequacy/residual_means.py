"""Mean residuals by budget and along each input: where a law that does not fit is too high or too low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeplaw.analysis.adequacy.budgets import along, budgets
from sweeplaw.analysis.fitting.derived.allocation import is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit

Array = np.ndarray
Means = Mapping[str, Sequence[Mapping[str, Any]]]


def residual_means(fit: Fit) -> Means:
    """Return for ``N*D`` (of a surface) and each input the groups of rows in order.

    Each has its range, its number of rows, and the mean of observed minus predicted loss in thousandths.
    """
    units = fit.observations.units
    inputs = {name: column * units.get(name, 1.0) for name, column in fit.observations.inputs.items()}
    left = 1000 * (fit.observations.losses - fit.fitted)
    found = {name: _groups(along(column), column, left) for name, column in inputs.items()}
    if is_surface(fit):
        return {"N*D": _groups(budgets(inputs), inputs["N"] * inputs["D"], left), **found}
    return found


def worst_means(means: Means) -> str:
    """Return the mean residuals along the axis on which they vary most, in words."""
    name = max(means, key=lambda one: _variation(means[one]))
    values = ", ".join(f"{group['mean_residual_milli']:+.3g}" for group in means[name])
    label = {"N*D": "budget", "N": "size", "D": "amount of data"}.get(name, name)
    return f"mean residuals by {label}, from the smallest: {values} thousandths"


def _variation(groups: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean size of the group means in standard errors, up to the noise of a row."""
    counts = np.array([group["rows"] for group in groups])
    means = np.array([group["mean_residual_milli"] for group in groups])
    return float(np.mean(np.sqrt(counts) * np.abs(means)))


def _groups(group: Array, place: Array, left: Array) -> list[dict[str, Any]]:
    counts = np.bincount(group)
    means = np.bincount(group, left) / counts
    ends = [(float(place[group == one].min()), float(place[group == one].max())) for one in range(len(counts))]
    return [
        {"from": low, "to": high, "rows": int(count), "mean_residual_milli": float(mean)}
        for (low, high), count, mean in zip(ends, counts, means, strict=True)
    ]
