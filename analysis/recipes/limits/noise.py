"""The errors of measured losses, and draws from them: over seeds, over members of ensembles, given, or residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Array = np.ndarray

LEAST_MEMBERS = 3  # whose effects tell the error of a mean over subsets
UNLIKELY = 0.01  # chance of residuals as large as found, below which the errors do not explain them


@dataclass(frozen=True, slots=True)
class Errors:
    """Standard errors of the losses of one curve (n,), with their degrees of freedom, infinite for given ones.

    ``effects`` (members, n) are what each member adds to the mean over all subsets; the errors of a curve over K are
    then those of its members, and not independent. ``origin``: what tells them, empty if nothing does.
    """

    standard: Array
    freedom: float
    origin: str
    effects: Array | None = None

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Return deviations from the losses: (count, n), with the spread of a t distribution."""
        if self.effects is not None:
            members = len(self.effects)
            drawn = rng.standard_normal((count, members)) @ self.effects / np.sqrt(members * (members - 1))
        else:
            drawn = rng.standard_normal((count, len(self.standard))) * self.standard
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


def unexplained(residuals: Sequence[Array], errors: Sequence[Array], parameters: int) -> tuple[float, float, float]:
    """Return the standard deviation that the errors of some curves leave unexplained, its degrees of freedom, and p.

    ``residuals`` and ``errors`` (n,) are those of each curve's law of ``parameters`` parameters. It is 0 if residuals
    as large are no surprise; p is 0 where no error is known.
    """
    freedom = sum(max(0, len(one) - parameters) for one in residuals)
    if freedom == 0:
        return 0.0, 0.0, 1.0
    judged = [(one, error) for one, error in zip(residuals, errors, strict=True) if len(one) > parameters]
    squares = sum(float(np.sum(one**2)) for one, _ in judged)
    variance = float(np.mean(np.concatenate([error**2 for _, error in judged])))
    p = float(stats.chi2.sf(squares / variance, freedom)) if variance > 0 else 0.0
    return (float(np.sqrt(max(0.0, squares / freedom - variance))) if p < UNLIKELY else 0.0), float(freedom), p
