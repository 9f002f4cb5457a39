"""Approach 2 of Hoffmann et al. 2022 (sec. 3.2): at each budget a parabola of loss in log N near its minimum.

A parabola holds near the minimum only, so it is fitted to the rows within a window above the budget's least loss
(`isoflop_design.windows`), and an optimum outside the sizes fitted is none. A cubic in its place shows what the form
costs. Off-centre sampling and an asymmetric surface bias the exponent (Czech et al. 2026, arXiv 2603.22339): the bias
is that of simulated losses of the fitted law at the same rows, if that law is adequate to them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sweeplaw.analysis.adequacy.adequacy import law_verdict
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.scaling.approach import MIN_BUDGETS, Approach, IsoflopBudget, line, slopes
from sweeplaw.analysis.scaling.isoflop_design import MIN_SIZES, WIDEST, WINDOW, IsoflopDesign, windows
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent

Array = np.ndarray

OFF_CENTRE = 0.25  # of the fitted range of log N: an optimum farther from its middle is off centre
SIMULATIONS = 400  # sets of losses that measure the bias; its Monte Carlo error is a twentieth of a row bootstrap's


def parabola(rows: IsoflopDesign, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Approach:
    """Apply approach 2. Raise InputError if fewer than three budgets have an optimum inside their sizes."""
    return parabola_of(rows, resampled_optima(rows, resamples, seed), level)


def resampled_optima(rows: IsoflopDesign, resamples: int, seed: int) -> Array:
    """Return log N* of each usable budget, (1 + resamples, budgets): of its rows, then of resamples; NaN for none."""
    rng = np.random.default_rng(seed)
    columns = [_resampled(rows, members, resamples, rng) for members in rows.usable]
    return np.stack(columns, axis=1) if columns else np.empty((1 + resamples, 0))


def parabola_of(rows: IsoflopDesign, best: Array, level: float = 0.95) -> Approach:
    """Apply approach 2 to optima that `resampled_optima` found. Raise InputError as `parabola`."""
    usable = rows.usable
    if len(usable) < MIN_BUDGETS:
        sentences = (_optimum(rows, members, draws, level) for members, draws in zip(usable, best.T, strict=True))
        known = "; ".join(filter(None, sentences))
        raise InputError(
            f"a line needs {MIN_BUDGETS} budgets of at least {MIN_SIZES} sizes; {len(usable)} found"
            f"{': ' if known else ''}{known}"
        )
    budgets = tuple(budget_of(rows, members) for members in rows.budgets)
    if (found := sum(budget.params is not None for budget in budgets)) < MIN_BUDGETS:
        raise InputError(f"a line needs {MIN_BUDGETS} budgets with an optimum inside their sizes; {found} found")
    flops = np.array([rows.mean_flops(members) for members in usable])
    return line("2 parabola", flops, best, level, budgets, (*_notes(budgets), *_cubic(rows, usable)))


def budget_of(rows: IsoflopDesign, members: Array) -> IsoflopBudget:
    """Return one budget with the minimum of its parabola, or the reason why it has none."""
    flops, log_params, losses = rows.mean_flops(members), np.log(rows.params[members]), rows.losses[members]
    if fault := rows.fault(members):
        return IsoflopBudget(flops, len(members), None, None, None, fault)
    inside, width = windows(rows.params[members], losses[None])
    used, window = int(inside.sum()), float(width[0])
    if not used:
        few = f"fewer than {MIN_SIZES} sizes within {percent(WIDEST, '.0f')} of its least loss"
        return IsoflopBudget(flops, len(members), None, None, None, few, used, window)
    fitted = log_params[inside[0]]
    lowest = float(_vertices(log_params, losses[None], inside.astype(float), 2)[0])
    off = (lowest - (fitted.max() + fitted.min()) / 2) / (fitted.max() - fitted.min())
    if abs(off) > 0.5 or not math.isfinite(off):
        note = "the optimum is outside the sizes fitted" if math.isfinite(off) else "the parabola has no minimum"
        return IsoflopBudget(flops, len(members), None, None, None if math.isnan(off) else off, note, used, window)
    return IsoflopBudget(flops, len(members), float(np.exp(lowest)), None, float(off), "", used, window)


def optimum_interval(draws: Array, level: float) -> Interval | None:
    """Return the interval of N* from log N* of resamples; None where fewer than ``level`` of them have an optimum."""
    if not len(draws) or np.isfinite(draws).mean() < level:
        return None
    return percentile(np.exp(draws), level, f"row bootstrap within the window, {len(draws)} resamples")


def _optimum(rows: IsoflopDesign, members: Array, draws: Array, level: float) -> str:
    """Return in words the best N of one budget with its interval; empty if it has none inside its sizes."""
    if not np.isfinite(draws[0]):
        return ""
    flops, ends = rows.mean_flops(members), optimum_interval(draws[1:], level)
    if ends is None:
        return f"at {flops:.3g} FLOPs the best N is about {np.exp(draws[0]):.3g}"
    return f"at {flops:.3g} FLOPs the best N is {np.exp(draws[0]):.3g} [{ends.low:.3g}, {ends.high:.3g}]"


def _resampled(rows: IsoflopDesign, members: Array, count: int, rng: np.random.Generator) -> Array:
    """Return log N* of one budget: of its rows, then of ``count`` resamples of those in its window; NaN without one."""
    losses = rows.losses[members][None]
    inside = windows(rows.params[members], losses)[0]
    weights = np.tile(inside.astype(float), (1 + count, 1))
    if used := int(inside.sum()):
        weights[1:, inside[0]] = rng.multinomial(used, np.full(used, 1 / used), size=count)
    return _inside(np.log(rows.params[members]), losses, weights, 2)


def _inside(log_params: Array, losses: Array, weights: Array, degree: int) -> Array:
    """Return the minimum of each weighted polynomial in log N, NaN unless it is inside the sizes with weight."""
    lowest = _vertices(log_params, losses, weights, degree)
    low = np.min(np.where(weights > 0, log_params, np.inf), axis=1)
    high = np.max(np.where(weights > 0, log_params, -np.inf), axis=1)
    return np.asarray(np.where((lowest >= low) & (lowest <= high), lowest, np.nan))


def _vertices(log_params: Array, losses: Array, weights: Array, degree: int) -> Array:
    """Return log N at the minimum of each weighted polynomial of order 2 or 3: (batch,), NaN if it has none.

    Losses are (batch, n) or (1, n). With too few sizes for the polynomial there is none.
    """
    middle, width = (log_params.max() + log_params.min()) / 2, (log_params.max() - log_params.min()) / 2
    place = (log_params - middle) / width
    powers = place ** np.arange(degree + 1)[:, None]
    matrix = np.einsum("bn,in,jn->bij", weights, powers, powers)
    right = np.einsum("bn,in,bn->bi", weights, powers, np.broadcast_to(losses, weights.shape))
    lost = np.linalg.cond(matrix) > 1e13
    matrix[lost] = np.eye(degree + 1)
    coefficients = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    lowest = np.where(lost, np.nan, _minimum(coefficients, degree))
    return np.asarray(middle + width * lowest)


def _minimum(coefficients: Array, degree: int) -> Array:
    """Return where each polynomial (batch, degree + 1) has its local minimum, NaN if it has none."""
    slope, bend = coefficients[:, 1], 2 * coefficients[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        if degree == 2:
            return np.asarray(np.where(bend > 0, -slope / bend, np.nan))
        third = 3 * coefficients[:, 3]
        root = np.sqrt(bend**2 - 4 * third * slope)  # the slope is slope + bend x + third x^2: rising at this root
        return np.asarray(np.where(bend + root != 0, -2 * slope / (bend + root), np.nan))


def _notes(budgets: tuple[IsoflopBudget, ...]) -> list[str]:
    """Return the window, the budgets that are off centre, and why some have no optimum."""
    widths = [budget.window for budget in budgets if budget.rows_used and budget.window]
    wider = f" ({percent(max(widths), '.0f')} where that holds too few sizes)" if max(widths) > WINDOW else ""
    used, count = sum(budget.rows_used or 0 for budget in budgets), sum(budget.rows for budget in budgets)
    within = f"within {percent(WINDOW, '.0f')} of the least loss of their budget{wider}"
    notes = [f"fitted to the {used} of {count} rows {within}"]
    kept = [budget for budget in budgets if budget.params is not None]
    if off := sum(abs(budget.off_centre or 0.0) > OFF_CENTRE for budget in kept):
        notes.append(f"off-centre sampling at {off} of {len(kept)} budgets pulls the vertex")
    return notes + [f"{budget.flops:.2g} FLOPs: {budget.note}" for budget in budgets if budget.note]


def _cubic(rows: IsoflopDesign, usable: list[Array]) -> list[str]:
    """Return what a cubic gives in place of the parabola, nothing if too few budgets have the sizes for one."""
    place, best = [], []
    for members in usable:
        inside = windows(rows.params[members], rows.losses[members][None])[0]
        if len(np.unique(rows.params[members][inside[0]])) > MIN_SIZES:
            place.append(np.log(rows.mean_flops(members)))
            losses = rows.losses[members][None]
            best.append(_inside(np.log(rows.params[members]), losses, inside.astype(float), 3)[0])
    if (found := int(np.isfinite(best).sum())) < MIN_BUDGETS:
        return []
    a = slopes(np.array(place), np.array(best)[None])[0][0]
    return [f"cubics in place of parabolas give a = {a:.4f} ({found} budgets)"]


def with_bias(approach: Approach, rows: IsoflopDesign, fit: Fit, true: float, seed: int = 0) -> Approach:
    """Return approach 2 with a note on its bias on this design, or on why it is not estimated.

    ``true`` is the exponent of the fitted law.
    """
    law = law_verdict(fit)[0]
    if law != "adequate":
        why = "does not fit these rows" if law == "inadequate" else "cannot be judged on these rows"
        return replace(approach, notes=(*approach.notes, f"its bias is not estimated: the {fit.law.name} law {why}"))
    mean = float(np.nanmean(_simulated(rows, fit, seed)))
    note = (
        f"on losses simulated from the fitted law at these rows it returns a = {mean:.4f} where the law has {true:.4f}"
    )
    bias = f"{note}: bias {mean - true:+.4f} from off-centre sampling and an asymmetric surface"
    return replace(approach, notes=(*approach.notes, bias))


def _simulated(rows: IsoflopDesign, fit: Fit, seed: int) -> Array:
    """Return the exponents of approach 2 on losses of the fitted law with noise drawn from its residuals."""
    freedom = max(fit.rows_used - len(fit.law.names), 1)
    widened = fit.residuals * math.sqrt(fit.rows_used / freedom)
    noise = np.random.default_rng(seed).choice(widened, size=(SIMULATIONS, len(rows.losses)))
    losses = fit.fitted + noise if fit.objective.space == "raw" else fit.fitted * np.exp(noise)
    place, best = [], []
    for members in rows.usable:
        inside = windows(rows.params[members], losses[:, members])[0].astype(float)
        place.append(np.log(rows.mean_flops(members)))
        best.append(_inside(np.log(rows.params[members]), losses[:, members], inside, 2))
    return slopes(np.array(place), np.stack(best, axis=1))[0]
