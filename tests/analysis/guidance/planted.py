"""Planted quadratics whose optimum follows a known power law, on grids of any number of knobs and axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.guidance.space import CandidateSpace, NumericKnob

Array = NDArray[np.float64]

LEVELS = {1: 13, 2: 9, 3: 6, 4: 5}  # of each knob, by their number
SIZES = {0: (), 1: (4,), 2: (3, 3), 3: (2, 2, 2)}  # values of each axis, by their number
NAMES = ("lr", "bs", "wd", "beta"), ("N", "D", "U")
CURVATURE, COUPLING = 0.004, -0.001


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """The space, the loss of each point with and without noise, and the optimum x (cells, knobs) of the best recipe.

    ``slope`` (knobs, axes): octaves of the optimum per octave of the axis.
    """

    space: CandidateSpace
    loss: Array
    clean: Array
    optimum: Array
    slope: Array


def planted(
    knobs: int,
    axes: int,
    noise: float,
    seed: int,
    scale: str = "log",
    recipes: tuple[str, ...] = ("",),
    off: float = 0.0,
) -> Planted:
    """Return a planted truth; with several recipes, each is better than the one before by 1 % of loss.

    ``off``: sd in octaves of each cell's optimum off the law.
    """
    rng = np.random.default_rng(seed)
    sizes = [1e8 * 2.0 ** (2 * np.arange(n)) for n in SIZES[axes]]
    cells = np.array(list(product(*sizes))).reshape(-1, axes) if axes else np.zeros((1, 0))
    units = np.linspace(-3, 3, LEVELS[knobs])
    levels = [1e-3 * 2**units if scale == "log" else 0.3 + 0.05 * units for _ in range(knobs)]
    grid = np.array(list(product(range(len(cells)), range(len(recipes)), *levels)))
    cell, recipe, settings = grid[:, 0].astype(int), grid[:, 1].astype(int), grid[:, 2:]
    cost = 6 * np.prod(cells, axis=1)[cell] if axes else np.ones(len(cell))
    space = CandidateSpace.of(
        [NumericKnob(name, scale) for name in NAMES[0][:knobs]],
        NAMES[1][:axes],
        cells,
        cell,
        settings,
        cost,
        recipe,
        recipes,
    )
    slope = rng.uniform(-0.4, 0.4, (knobs, axes))
    middle = rng.uniform(-0.5, 0.5, (len(recipes), knobs))
    optimum = middle[:, None] + (space.z @ slope.T)[None]
    optimum = optimum + off * rng.standard_normal(optimum.shape)
    step = space.x - optimum[recipe, cell]
    matrix = CURVATURE * np.eye(knobs) + COUPLING * (1 - np.eye(knobs)) / max(1, knobs - 1)
    level = 1.0 - 0.03 * space.z.sum(axis=1)[cell] - 0.01 * recipe
    clean = np.exp(level + np.einsum("pi,ij,pj->p", step, matrix, step))
    return Planted(space, clean * np.exp(noise * rng.standard_normal(len(cell))), clean, optimum[-1], slope)
