"""The loss that a fit predicts at one point, with an interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sweeplaw.analysis.fitting.derived.derived_interval import Quantity, derived_interval
from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.trials.errors import require_positive


def loss_at(fit: Fit, x: Mapping[str, float]) -> tuple[float, Interval]:
    """Return the expected loss at one point, given in the table's own units, and its interval at the fit's level.

    The interval has the percentiles of the bootstrap draws, or is by profile likelihood without draws; it has no noise
    of a further run in it. Raise InputError if an input is missing or not a positive, finite number.
    """
    require_fits(fit)
    if isinstance(x, Mapping):
        require_positive(dict(x), where="loss_at")
    value = float(fit.predict(x)[0])
    if fit.draws is not None:
        method = f"{fit.draws.by} bootstrap, {len(fit.draws.params)} resamples"
        return value, percentile(fit.predictions(x, fit.draws.params)[:, 0], fit.level, method)
    bound = fit.law.function.bind(fit.columns(x))
    quantity = Quantity(lambda theta: bound.predict(theta)[:, 0], lambda theta: theta[:, :0], np.zeros(0))
    return value, derived_interval(fit.setup, fit.solution.theta, quantity, fit.level, fit.noise)
