"""The largest budget held out: does a plain power law, fitted to the smaller runs, predict it better than the law?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.adequacy.budgets import budgets
from sweeplaw.analysis.adequacy.finding import Finding
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import refit
from sweeplaw.trials.quantities import percent

Array = np.ndarray

LEAST_RUNS = 2  # held out
BETTER = 2.0  # times smaller must the plain law's error be, and
NOISY = 3.0  # times the noise must the law's own error be


@dataclass(frozen=True, slots=True)
class _Errors:
    """Root mean square of the log of predicted over observed loss on the held-out rows."""

    law: float
    plain: float
    rows: int


def held_out_budget(fit: Fit, noise: float) -> Finding | None:
    """Return whether the law predicts the largest budget at least as well as ``L = c N^-a D^-b`` does.

    ``noise`` is the standard deviation of one run in parts of its loss. None if too few rows are left for the law.
    """
    group = budgets(fit.observations.inputs)
    held = group >= _last(group)
    if held.sum() < LEAST_RUNS or len(held) - held.sum() <= len(fit.law.names) + 1:
        return None
    errors = _errors(fit, held)
    if errors is None:
        return None
    numbers = {"rows": errors.rows, "error_of_loss": errors.law, "plain_power_law_error_of_loss": errors.plain}
    ours = f"fitted without the {errors.rows} largest runs the law is off by {percent(errors.law, '.2f')} there"
    sentence = f"{ours}, a plain power law by {percent(errors.plain, '.2f')}"
    worse = errors.law > BETTER * errors.plain and errors.law > NOISY * noise
    return Finding("held_out_budget", "failed" if worse else "passed", sentence, numbers)


def _last(group: Array) -> int:
    """Return the smallest budget that is held out: the last, or with fewer than LEAST_RUNS in it the last ones."""
    counts = np.cumsum(np.bincount(group)[::-1])
    return int(group.max() - np.argmax(counts >= LEAST_RUNS))


def _errors(fit: Fit, held: Array) -> _Errors | None:
    """Return the errors of both laws on the rows held out; None if the law cannot be fitted to the others."""
    seen = fit.observations
    weights = np.where(held, 0.0, fit.setup.problem.weights)
    draws = refit(fit.setup, fit.solution, weights[None])
    columns = [column[held] for column in (seen.inputs[name] for name in fit.law.inputs)]
    predicted = fit.law.function.bind(columns).predict(draws.params[:1])[0]
    if not draws.converged[0] or not np.all(np.isfinite(predicted) & (predicted > 0)):
        return None
    logs = np.stack([np.ones(len(held)), *(np.log(seen.inputs[name]) for name in fit.law.inputs)], axis=1)
    roots = np.sqrt(weights)[:, None]
    plain = np.linalg.lstsq(roots * logs, roots[:, 0] * np.log(seen.losses), rcond=None)[0]
    log_losses = np.log(seen.losses[held])
    return _Errors(_rms(np.log(predicted) - log_losses), _rms(logs[held] @ plain - log_losses), int(held.sum()))


def _rms(error: Array) -> float:
    return float(np.sqrt(np.mean(error**2)))
