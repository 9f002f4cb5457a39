"""Power-law spectra k^-capacity, k = 1 … dimension: what of them 64 bits can carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SMALLEST = 1e-290  # a shift far below it is still a normal number of 64 bits


def underflow_faults(knobs: Mapping[str, Any], name: str) -> list[str]:
    """Return a fault for a capacity exponent at which the last ``name``, such as eigenvalue, is zero in 64 bits."""
    capacity, dimension = knobs["capacity_exponent"], knobs["dimension"]
    if not all(isinstance(value, int | float) for value in (capacity, dimension)) or dimension < 2:
        return []
    most = -math.log(SMALLEST) / math.log(dimension)
    if capacity <= most:
        return []
    return [
        f"capacity_exponent = {capacity:g} with dimension = {dimension} (accepted: at most {most:.4g}, where the last "
        f"{name} is above {SMALLEST:g})"
    ]
