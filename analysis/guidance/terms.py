"""Terms of the law, of the levels of the loss, and of what a cell has of its own: linear in the parameters.

The log loss of a surface is level + b'x + x'Qx with one curvature Q. b and the level are linear in the coordinates z of
the cell, so that the optimum -Q^-1 b / 2 moves linearly in the logs of the axes: a power law. Terms beyond that let the
law bend and let a cell have an optimum and a curvature of its own; how much, `heterogeneity` asks the records. Every
parameter has an independent normal prior with mean zero; the prior mean of Q is `CURVATURE` times the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.guidance.space import Array, CandidateSpace, Index

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
BEND_SD = 0.0004  # .05 octave of the optimum per squared octave of an axis
OWN_SLOPE_SD = 0.0012  # a cell's optimum is .15 octave off the law
OWN_CURVATURE_SD = 0.0007  # a cell's curvature is a sixth off the shared one
LEAST_CURVATURE = 0.0003  # of every direction; a valley flatter than this has no optimum to find

LAW, OFF_LAW, OWN_SHAPE = 0, 1, 2  # groups of terms with a common scale


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """``sd`` (terms,): of the prior; ``group`` (terms,): `LAW`, `OFF_LAW` or `OWN_SHAPE`.

    The terms are, in this order: the slopes of each knob, over ``by_slope`` (surfaces, n); the curvature of each pair
    of knobs in ``pairs``; the level, over ``by_level`` (surfaces, n); and of each cell its slopes and its curvatures.
    The first ``shared`` terms are those of the law and its curvature.
    """

    space: CandidateSpace
    sd: Array
    group: Index
    by_slope: Array
    by_level: Array
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, space: CandidateSpace) -> Terms:
        """Return the terms of a space."""
        z, recipe, knobs = space.z[space.surface_cell], space.surface_recipe, len(space.knobs)
        several = len(space.recipes) > 1
        own = (recipe[:, None] == np.arange(len(space.recipes))) * 1.0 if several else np.zeros((len(recipe), 0))
        ones, curved = np.ones((len(recipe), 1)), _products(z)
        cells = (space.surface_cell[:, None] == np.arange(len(space.cells))) * 1.0
        moved = (own[:, :, None] * z[:, None, :]).reshape(len(recipe), -1)
        slopes = ((ones, SLOPE_SD), (z, SLOPE_BY_AXIS_SD), (own, RECIPE_SLOPE_SD), (curved, BEND_SD))
        levels = (
            (ones, LEVEL_SD),
            (z, LEVEL_BY_AXIS_SD),
            (curved, LEVEL_CURVED_SD),
            (cells, OWN_LEVEL_SD),
            (own, RECIPE_LEVEL_SD),
            (moved, RECIPE_LEVEL_BY_AXIS_SD),
        )
        slope_sd, level_sd = (np.concatenate([np.full(b.shape[1], s) for b, s in part]) for part in (slopes, levels))
        pairs = tuple((i, j) for i in range(knobs) for j in range(i, knobs))
        alone = knobs * len(space.cells) if len(space.cells) > 1 else 0  # terms of the only cell would be the law's
        slope_group = np.where(slope_sd == BEND_SD, OFF_LAW, LAW)
        parts = [
            (np.tile(slope_sd, knobs), np.tile(slope_group, knobs)),
            (np.full(len(pairs), CURVATURE_SD), np.full(len(pairs), LAW)),
            (level_sd, np.full(len(level_sd), LAW)),
            (np.full(alone, OWN_SLOPE_SD), np.full(alone, OFF_LAW)),
            (np.full(alone, OWN_CURVATURE_SD), np.full(alone, OWN_SHAPE)),
        ]
        by_slope, by_level = (np.hstack([block for block, _ in part]) for part in (slopes, levels))
        sd, group = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        return cls(space, sd, group.astype(np.int64), by_slope, by_level, pairs)

    @property
    def first_pair(self) -> int:
        """The first term of the curvature."""
        return len(self.space.knobs) * int(self.by_slope.shape[1])

    @property
    def shared(self) -> int:
        """The number of terms of the law and its curvature."""
        return self.first_pair + len(self.pairs)

    def scaled(self, scales: Array) -> Terms:
        """Return the terms with the prior sd of each group times its scale (groups,)."""
        return replace(self, sd=self.sd * scales[self.group])

    def mean(self, points: Index) -> Array:
        """Return the prior mean of the log loss at these points."""
        return np.asarray(CURVATURE * (self.space.x[points] ** 2).sum(axis=1))

    def features(self, points: Index) -> Array:
        """Return the features (points, terms)."""
        space, x, surface = self.space, self.space.x[points], self.space.surface[points]
        knobs = range(x.shape[1])
        cells = (space.cell[points][:, None] == np.arange(len(space.cells))) * 1.0
        blocks = [x[:, [i]] * self.by_slope[surface] for i in knobs]
        blocks += [x[:, [i]] * x[:, [j]] for i, j in self.pairs]
        blocks.append(self.by_level[surface])
        if len(space.cells) > 1:
            blocks += [x[:, [i]] * cells for i in knobs] + [x[:, [i]] ** 2 * cells for i in knobs]
        return np.hstack(blocks)

    def slopes(self, parameters: Array) -> Array:
        """Return the slopes (surfaces, knobs) at x = 0."""
        knobs, cells = len(self.space.knobs), len(self.space.cells)
        found = self.by_slope @ parameters[: self.first_pair].reshape(knobs, -1).T
        if cells > 1:
            first = self.shared + self.by_level.shape[1]
            found = found + parameters[first : first + knobs * cells].reshape(knobs, cells).T[self.space.surface_cell]
        return np.asarray(found)

    def levels(self, parameters: Array) -> Array:
        """Return the levels (surfaces,) at x = 0."""
        return np.asarray(self.by_level @ parameters[self.shared : self.shared + self.by_level.shape[1]])

    def slopes_at(self, z: Array) -> Array:
        """Return the map (knobs, shared terms) from parameters to the slopes of the first recipe at ``z``."""
        knobs, recipes = len(self.space.knobs), len(self.space.recipes)
        row = np.r_[1.0, z, np.eye(recipes)[0] if recipes > 1 else [], _products(z[None])[0]]
        found = np.zeros((knobs, self.shared))
        for i in range(knobs):
            found[i, i * len(row) : (i + 1) * len(row)] = row
        return found

    def curvature(self, parameters: Array) -> Array:
        """Return the curvature matrix Q (knobs, knobs), with eigenvalues of at least `LEAST_CURVATURE`."""
        matrix = CURVATURE * np.eye(len(self.space.knobs))
        for value, (i, j) in zip(parameters[self.first_pair : self.shared], self.pairs, strict=True):
            matrix[i, j] += value / 2
            matrix[j, i] += value / 2
        values, vectors = np.linalg.eigh(matrix)
        return np.asarray((vectors * np.maximum(values, LEAST_CURVATURE)) @ vectors.T)


def _products(z: Array) -> Array:
    """Return the products (rows, pairs) of two coordinates each, squares included."""
    axes = range(z.shape[1])
    return np.stack([z[:, i] * z[:, j] for i in axes for j in axes if i <= j], axis=1) if z.shape[1] else z
