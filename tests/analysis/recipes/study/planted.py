"""Recipes with known limits: losses C_U + a / N^p + b / K at each U, N and K, with the noise of seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

SIZES = (1.5e8, 3e8, 6e8, 1.4e9)
BUDGETS = (2e8, 4e8, 8e8, 1.6e9)
MEMBERS = (1, 2, 3, 4, 5)
STANDARD, REGULARIZED, JOINT = (1.9, 1.30, 0.24), (1.9, 1.03, 0.23), (1.9, 0.86, 0.24)  # C, A, alpha over U / 1e9


def law(params: tuple[float, float, float], u: float) -> float:
    """Return the loss of a law over U."""
    floor, scale, exponent = params
    return floor + scale * (u / 1e9) ** -exponent


def effective(loss: float) -> float:
    """Return the data at which the standard recipe reaches a loss."""
    floor, scale, exponent = STANDARD
    return float("inf") if loss <= floor else 1e9 * (scale / (loss - floor)) ** (1 / exponent)


def runs(noise: float = 0.0, seeds: int = 1, seed: int = 0, members: tuple[int, ...] = MEMBERS) -> pl.DataFrame:
    """Return runs of the standard, the regularized and the joint recipe."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in BUDGETS:
        for n in SIZES:
            standard = law(STANDARD, u) + (0.0 if n == SIZES[2] else 0.05)
            rows.append(("standard", n, u, 1, standard))
            rows.append(("regularized", n, u, 1, law(REGULARIZED, u) + 0.05 / (n / 1e9)))
            rows += [("joint", n, u, k, law(JOINT, u) + 0.02 / (n / 1e9) ** 1.3 + 0.25 / k) for k in members]
    columns = ["recipe", "N", "U", "K", "loss"]
    every = [(*row[:4], row[4] + noise * rng.standard_normal(), s) for row in rows for s in range(seeds)]
    return pl.DataFrame(every, schema=[*columns, "seed"], orient="row")


def known(value: Any) -> Any:
    """Return a value that is not None."""
    assert value is not None
    return value
