"""The errors of measured losses, and draws from them: over seeds, over members of ensembles, given, or residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

LARGEST = 1e150  # number whose square is finite
LEAST_MEMBERS = 3  # for the error of a mean over subsets by their effects
UNLIKELY = 0.01  # chance of residuals as large as found, below which the errors do not explain them


@dataclass(frozen=True, slots=True)
class Errors:
    """Standard errors of the losses of one curve (n,), with their degrees of freedom, infinite for given ones.

    ``effects`` (members, n) are what each member adds to the mean over all subsets; the errors of a curve over K are
    then those of its members, and not independent. If ``shared``, all points of the curve have one error in common.
    ``origin``: where they come from, empty if they are not known.
    """

    standard: Array
    freedom: float
    origin: str
    effects: Array | None = None
    shared: bool = False

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Return deviations from the losses: (count, n), with the spread of a t distribution."""
        if self.effects is not None:
            members = len(self.effects)
            drawn = rng.standard_normal((count, members)) @ self.effects / np.sqrt(members * (members - 1))
        else:
            drawn = rng.standard_normal((count, 1 if self.shared else len(self.standard))) * self.standard
        return np.asarray(drawn * t_scale(rng, count, self.freedom)[:, None])


def t_scale(rng: np.random.Generator, count: int, freedom: float) -> Array:
    """Return the factors (count,) by which normal draws become draws of Student's t."""
    return np.sqrt(freedom / rng.chisquare(freedom, count)) if np.isfinite(freedom) else np.ones(count)


def member_effects(sizes: Array, losses: Array, subsets: Sequence[frozenset[str]]) -> Array | None:
    """Return what each member adds to the mean loss over all subsets of each size: (members, sizes), centred.

    ``sizes`` (m,), ``losses`` (m,) and ``subsets`` describe one subset each; the result has the distinct sizes in
    rising order. To first order the loss of k members is a mean of effects of its members, of which the mean over the
    subsets with one member shows a share (M - k) / (M - 1) / k (Hoeffding 1948). All M together show none: their
    effects are those of the largest size below. None unless each member is in some, but not all, subsets of each size.
    """
    members = sorted(frozenset().union(*subsets))
    count = len(members)
    found: list[Array] = []
    if count < LEAST_MEMBERS:
        return None
    within = np.array([[member in subset for subset in subsets] for member in members])
    for k in np.unique(sizes):
        here = sizes == k
        if k == count:
            found += found[-1:]
            continue
        shares = within[:, here]
        if not (shares.any(axis=1) & ~shares.all(axis=1)).all():
            return None
        own = np.array([losses[here][row].mean() for row in shares]) - losses[here].mean()
        found.append(k * (count - 1) / (count - k) * (own - own.mean()))
    return np.stack(found, axis=1) if len(found) == len(np.unique(sizes)) else None


def unexplained(residuals: Sequence[Array], drawn: Sequence[Array], parameters: int) -> tuple[float, float, float]:
    """Return the standard deviation that the errors of some curves leave unexplained, its degrees of freedom, and p.

    ``residuals`` (n,) are those of each curve's law of ``parameters`` parameters, ``drawn`` (draws, n) by how much they
    change in draws of the errors, whatever these have in common. p is the share of draws in which all together are as
    large as found; the standard deviation is 0 unless that is unlikely.
    """
    judged = [(one, draws) for one, draws in zip(residuals, drawn, strict=True) if len(one) > parameters]
    freedom = sum(len(one) - parameters for one, _ in judged)
    if freedom == 0 or not len(judged[0][1]):
        return 0.0, 0.0, 1.0
    squares = sum(float(np.sum(one**2)) for one, _ in judged)
    explained = np.sum([np.sum(draws**2, axis=1) for _, draws in judged], axis=0)
    p = float(np.mean(explained >= squares))
    variance = max(0.0, squares - float(explained.mean())) / freedom
    return (float(np.sqrt(variance)) if p < UNLIKELY else 0.0), float(freedom), p
