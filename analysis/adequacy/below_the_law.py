"""Losses that a law calls impossible: below its asymptote, or below its best loss for their compute."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from sweeplaw.analysis.adequacy.budgets import budgets
from sweeplaw.analysis.adequacy.finding import Finding
from sweeplaw.analysis.adequacy.lack_of_fit import LEVEL
from sweeplaw.analysis.fitting.derived.allocation import compute_of, is_surface
from sweeplaw.analysis.fitting.derived.frontier import frontier
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.trials.quantities import percent

Array = np.ndarray

LARGE = 1e290  # an input at which the terms of a law that fall with it have vanished
LEAST_BEATEN = 2  # budgets whose best run beats the law, before the law is called wrong
NOISE_BELOW = 3.0  # standard deviations of the noise by which a run alone must beat the law's best for its compute


def asymptote(fit: Fit, noise: float) -> Finding | None:
    """Return whether an asymptote above an observed loss is more than noise; None if it is below all of them.

    ``noise`` is the standard deviation of one run in parts of its loss. The lowest of n runs may be below by as much as
    that of n normal draws would be.
    """
    losses, (name, value) = fit.observations.losses, _least(fit)
    if not value > losses.min():
        return None
    lowest = float(losses.min())
    allowed = float(norm.isf(LEVEL / len(losses))) * noise
    beyond = value / lowest - 1 > allowed
    below = int(np.sum(losses < value))
    above = "an observed loss" if below == 1 else f"{below} observed losses"
    sentence = f"{name} = {value:.4g} is above {above}, the lowest {lowest:.4g}"
    numbers = {"asymptote": value, "lowest_loss": lowest, "losses_below": below}
    explained = "" if beyond else ", by no more than the noise of one run"
    return Finding("asymptote", "failed" if beyond else "passed", sentence + explained, numbers)


def _least(fit: Fit) -> tuple[str, float]:
    """Return the name and the value of the least loss that the law allows: its asymptote, or its limit."""
    known = {**fit.params, **dict(fit.law.fixed)}
    if fit.law.asymptote in known:
        return f"the asymptote {fit.law.asymptote}", known[str(fit.law.asymptote)]
    with np.errstate(all="ignore"):
        limit = fit.law.predict(known, dict.fromkeys(fit.law.inputs, LARGE))
    return f"the law's limit for large {' and '.join(fit.law.inputs)}", float(limit[0])


def below_best_loss(fit: Fit, noise: float) -> Finding | None:
    """Return whether the best runs of several budgets beat the law's best loss there; None for a law of other inputs.

    ``noise`` is the standard deviation of one run in parts of its loss. The lowest of the n runs of a budget may be
    below by as much as that of n normal draws would be.
    """
    if not is_surface(fit) or set(fit.law.inputs) != {"N", "D"}:
        return None
    gaps, runs = _gaps(fit)
    allowed = norm.isf(norm.sf(NOISE_BELOW) / runs) * noise
    count = int(np.sum(gaps < -allowed))
    numbers = {"budgets": len(gaps), "budgets_beaten": count, "lowest_gap_of_loss": float(gaps.min())}
    if count < LEAST_BEATEN:
        return Finding("frontier", "passed", "no budget's best run is clearly better than the law's optimum", numbers)
    sentence = (
        f"the best runs of {count} of {len(gaps)} budgets are below the least loss that the law allows there, "
        f"by up to {percent(-gaps.min(), '.2f')}"
    )
    return Finding("frontier", "failed", sentence, numbers)


def _gaps(fit: Fit) -> tuple[Array, Array]:
    """Return for each budget the log of its lowest loss over the law's least at that run's compute, and its runs."""
    units, seen = fit.observations.units, fit.observations
    inputs = {name: column * units.get(name, 1.0) for name, column in seen.inputs.items()}
    group = budgets(inputs)
    best = np.array([members[np.argmin(seen.losses[members])]
                     for members in (np.flatnonzero(group == one) for one in range(group.max() + 1))])  # fmt: skip
    least = frontier(fit, compute_of(fit, 1.0)[best], 1.0, fit.theta[None])[1][0]
    return np.asarray(np.log(seen.losses[best] / least)), np.bincount(group)
