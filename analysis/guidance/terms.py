"""Terms of the law and of the levels of the loss: features of each candidate, linear in the parameters.

The log loss of a surface is level + b'x + x'Qx with one curvature Q. b and the level are linear in the coordinates z of
the cell, so that the optimum -Q^-1 b / 2 moves linearly in the logs of the axes: a power law. Every parameter has an
independent normal prior with mean zero; the prior mean of the curvature is `CURVATURE`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.guidance.space import Array, Space

# Prior: relative loss for x in octaves of a knob and z in octaves of an axis. An octave off the optimum of a learning
# rate or batch costs .2 to 1 % of the loss; the optimum moves by up to about an octave per octave of an axis.
CURVATURE = 0.004
CURVATURE_SD = 0.004
SLOPE_SD = 0.024  # three octaves of the optimum at the curvature CURVATURE
SLOPE_BY_AXIS_SD = 0.0056  # .7 octave of the optimum per octave of an axis
LEVEL_SD = 1.0
LEVEL_BY_AXIS_SD = 0.3
LEVEL_CURVED_SD = 0.01
OWN_LEVEL_SD = 0.01  # of a cell, off the law of the levels
RECIPE_LEVEL_SD = 0.03
RECIPE_LEVEL_BY_AXIS_SD = 0.005
RECIPE_SLOPE_SD = 0.012  # an octave and a half between the optima of two recipes
LEAST_CURVATURE = 0.0003  # of every direction; a valley flatter than this has no optimum to find


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """``features`` (points, terms); ``sd`` (terms,): of the prior. For each surface, the maps from the parameters to
    its slopes at x = 0, ``slopes`` (surfaces, knobs, terms), and to its level there, ``levels`` (surfaces, terms).
    ``pairs``: the knobs (i, j) of each curvature term, which are the terms from ``first_pair`` on; ``mean`` (points,).
    """

    features: Array
    sd: Array
    slopes: Array
    levels: Array
    pairs: tuple[tuple[int, int], ...]
    first_pair: int
    mean: Array

    @classmethod
    def of(cls, space: Space) -> Terms:
        """Return the terms of a space."""
        x, z, recipe = space.x, space.z[space.surface_cell], space.surface_recipe
        surfaces, knobs = len(recipe), x.shape[1]
        ones, recipes = np.ones((surfaces, 1)), len(space.recipes)
        own = (recipe[:, None] == np.arange(recipes)) * 1.0 if recipes > 1 else np.zeros((surfaces, 0))
        by_slope = np.hstack([ones, z, own])
        slope_sd = np.r_[SLOPE_SD, np.full(z.shape[1], SLOPE_BY_AXIS_SD), np.full(own.shape[1], RECIPE_SLOPE_SD)]
        curved = [z[:, i] * z[:, j] for i in range(z.shape[1]) for j in range(i, z.shape[1])]
        cells = (space.surface_cell[:, None] == np.arange(len(space.cells))) * 1.0
        moved = [own * z[:, i : i + 1] for i in range(z.shape[1])]
        blocks = [ones, z, *(c[:, None] for c in curved), cells, own, *moved]
        sizes = [LEVEL_SD, LEVEL_BY_AXIS_SD, *([LEVEL_CURVED_SD] * len(curved)), OWN_LEVEL_SD, RECIPE_LEVEL_SD]
        sizes += [RECIPE_LEVEL_BY_AXIS_SD] * len(moved)
        level_sd = np.concatenate([np.full(b.shape[1], s) for b, s in zip(blocks, sizes, strict=True)])
        by_level = np.hstack(blocks)
        pairs = tuple((i, j) for i in range(knobs) for j in range(i, knobs))
        per_knob, first_pair = by_slope.shape[1], knobs * by_slope.shape[1]
        terms = first_pair + len(pairs) + by_level.shape[1]
        slopes, levels = np.zeros((surfaces, knobs, terms)), np.zeros((surfaces, terms))
        for i in range(knobs):
            slopes[:, i, i * per_knob : (i + 1) * per_knob] = by_slope
        levels[:, first_pair + len(pairs) :] = by_level
        features = levels[space.surface] + np.einsum("pk,pkt->pt", x, slopes[space.surface])
        for n, (i, j) in enumerate(pairs):
            features[:, first_pair + n] = x[:, i] * x[:, j]
        sd = np.r_[np.tile(slope_sd, knobs), np.full(len(pairs), CURVATURE_SD), level_sd]
        return cls(features, sd, slopes, levels, pairs, first_pair, CURVATURE * (x**2).sum(axis=1))

    def slopes_at(self, z: Array, recipe: int = 0, recipes: int = 1) -> Array:
        """Return the map (knobs, terms) from the parameters to the slopes at x = 0 at the coordinates ``z``."""
        knobs, row = self.slopes.shape[1], np.r_[1.0, z, np.eye(recipes)[recipe] if recipes > 1 else []]
        found = np.zeros((knobs, len(self.sd)))
        for i in range(knobs):
            found[i, i * len(row) : (i + 1) * len(row)] = row
        return found

    def curvature(self, parameters: Array) -> Array:
        """Return the curvature matrix Q (knobs, knobs), with eigenvalues of at least `LEAST_CURVATURE`."""
        matrix = CURVATURE * np.eye(self.slopes.shape[1])
        for value, (i, j) in zip(parameters[self.first_pair :], self.pairs, strict=False):
            matrix[i, j] += value / 2
            matrix[j, i] += value / 2
        values, vectors = np.linalg.eigh(matrix)
        return np.asarray((vectors * np.maximum(values, LEAST_CURVATURE)) @ vectors.T)
