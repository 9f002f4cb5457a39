"""Compute-optimal exponents by the three approaches of Hoffmann et al. 2022 (sec. 3), side by side.

1. Envelope: at each budget the run of least loss, then a line through log N* against log C.
2. Parabola: at each budget a parabola of loss in log N, its minimum, then the line (`analysis.scaling.parabola`).
3. Surface: the fitted law's own optimum (`analysis.fitting.derived.allocation`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sweeplaw.analysis.adequacy.advice import objection
from sweeplaw.analysis.fitting.derived.allocation import FLOPS_PER_ND, allocate, exponents, is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.scaling.approach import MIN_BUDGETS, Approach, IsoflopBudget, line
from sweeplaw.analysis.scaling.isoflop_design import MIN_SIZES, IsoflopDesign, design
from sweeplaw.analysis.scaling.parabola import parabola, with_bias
from sweeplaw.trials.errors import InputError

Array = np.ndarray
SURFACE = "3 surface"


def compare_approaches(
    fit: Fit, k: float = FLOPS_PER_ND, resamples: int = 1000, seed: int = 0, *, force: bool = False
) -> tuple[Approach, ...]:
    """Return approaches 1, 2 and 3 on the rows of a surface fit.

    An approach that is impossible is left out, with the reason in the notes of the third. The third has no numbers if
    the fit gives no advice (`adequacy.advice`), unless ``force``; its notes say why. Raise InputError for a law of
    other inputs.
    """
    if not (isinstance(fit, Fit) and is_surface(fit)):
        raise InputError("the approaches need a fit of a law of N and D")
    rows = design(fit, k)
    why = objection(fit, fit.adequacy)
    surface = _surface(fit, rows, k)
    third = _withheld(why) if why and not force else surface
    advised = (f"not advised: {why}",) if why and force else third.notes
    made, missing = [], list[str]()
    for name, build in (("1", envelope), ("2", parabola)):
        try:
            made.append(build(rows, fit.level, resamples, seed))
        except InputError as error:
            missing.append(f"no approach {name}: {error}")
    made = [with_bias(item, rows, fit, surface.a, seed) if item.name == "2 parabola" else item for item in made]
    return (*made, replace(third, notes=(*advised, *missing)))


def _withheld(why: str) -> Approach:
    return Approach(SURFACE, math.nan, math.nan, math.nan, {}, (), (f"withheld: {why} (--force, or force=True)",))


def _surface(fit: Fit, rows: IsoflopDesign, k: float) -> Approach:
    """Return approach 3 in the middle of the rows' compute."""
    middle = rows.mean_flops(np.arange(len(rows.flops)))
    found = exponents(fit, middle, k)
    intervals = {name: interval for name, (_, interval) in found.items() if interval is not None}
    a = found["a"][0]
    coefficient = allocate(fit, middle, k).params / middle**a
    return Approach(SURFACE, a, found["b"][0], coefficient, intervals, (), ())


def envelope(rows: IsoflopDesign, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Approach:
    """Apply approach 1: the run of least loss at each budget. Raise InputError with fewer than three budgets."""
    usable = rows.usable
    if len(usable) < MIN_BUDGETS:
        raise InputError(f"a line needs {MIN_BUDGETS} budgets of at least {MIN_SIZES} sizes; {len(usable)} found")
    rng = np.random.default_rng(seed)
    best = np.stack([_least(rows, members, resamples, rng) for members in usable], axis=1)
    flops = np.array([rows.mean_flops(members) for members in usable])
    budgets = tuple(_budget(rows, members) for members in rows.budgets)
    return line("1 envelope", flops, best, level, budgets, ("coarse where budgets hold few sizes",))


def _least(rows: IsoflopDesign, members: Array, count: int, rng: np.random.Generator) -> Array:
    """Return log N of the run of least loss of one budget: of its rows, then of ``count`` resamples of them."""
    drawn = np.ones((1 + count, len(members)))
    drawn[1:] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    least = np.argmin(np.where(drawn > 0, rows.losses[members], np.inf), axis=1)
    return np.asarray(np.log(rows.params[members])[least])


def _budget(rows: IsoflopDesign, members: Array) -> IsoflopBudget:
    log_params = np.log(rows.params[members])
    least = int(np.argmin(rows.losses[members]))
    low, high = log_params.min(), log_params.max()
    off = (log_params[least] - (low + high) / 2) / max(high - low, 1e-12)
    params, loss = float(rows.params[members][least]), float(rows.losses[members][least])
    return IsoflopBudget(rows.mean_flops(members), len(members), params, loss, float(off), "")
