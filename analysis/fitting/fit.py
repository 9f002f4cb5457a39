"""One call from a table to a fitted law: parameters, objective, verdict, intervals, residuals, and dropped rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations, outlier_warnings
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.noise.noise import Noise, find_noise
from sweeplaw.analysis.fitting.noise.weights import weighted
from sweeplaw.analysis.fitting.observations import Columns, observe
from sweeplaw.analysis.fitting.options import FitOptions, complete, is_text, with_options
from sweeplaw.analysis.fitting.resampling import NO_RESAMPLING, Resampling
from sweeplaw.analysis.fitting.solver.objectives import NOISE, Objective, parse_objective
from sweeplaw.analysis.fitting.solver.solve import Setup, Solution, objective_value, set_up, solve
from sweeplaw.analysis.fitting.uncertainty import Draws, bootstrap
from sweeplaw.analysis.laws.catalog import ALIASES
from sweeplaw.analysis.laws.catalog import law as named_law
from sweeplaw.analysis.laws.law import Law, formula_law
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import counted


def fit(
    table: Any,
    law: str | Law = "additive",
    objective: str | Objective = "huber:0.001",
    x: str | Mapping[str, str] | None = None,
    y: str | None = None,
    **options: Unpack[FitOptions],
) -> Fit:
    """Fit a law to a table by minimising the named objective. Raise InputError with every fault.

    ``table``: a path to a store or to a CSV, Parquet or NDJSON file, a `Store`, what `load` returns, a Polars frame
    (lazy or not), a pandas or Arrow table, or a mapping of columns of one length. Of a store, the completed trials are
    used; rows with a missing, infinite or non-positive value are dropped and counted. ``law``: a name from
    `analysis.LAWS` (each with its formula, units and source), a Law, or a formula such as ``"E + A / N**a"`` whose
    inputs are the keys of ``x``. ``x`` maps the law's inputs to columns or SQL expressions (by default our own store's
    columns: N is params_non_embedding, in parameters, D is tokens); ``y`` is the column of the loss (val_loss, in nats
    a token for language models). ``objective``: ``"huber:DELTA"`` (Huber 1964), ``"lad"`` or ``"ls"``.

    The rows used are, at each distinct point, the runs of the best setting of the tuned knobs, by the mean over seeds;
    their losses are corrected for that selection (`analysis.tuning.points`). Runs of several families (recipes,
    workloads, imported and own) are refused, unless ``pool=True``. ``all_rows=True`` fits every row as it is.

    Options of the objective: ``space="log"`` (the default, Hoffmann et al. 2022, eq. 3) or ``"raw"``,
    ``reduction="mean"`` or ``"sum"``, ``weights=COLUMN`` (only their ratios matter to intervals), or
    ``weights="noise"`` for weights by the noise of the rows where that changes with size by a factor of two or more.
    Options of the table: ``units={"N": 1e9}`` divides inputs, ``where=SQL`` selects rows, ``knobs=[...]`` names the
    tuned columns; ``best=True`` is the default, ``best=False`` another name of ``all_rows=True``. Options of the law:
    ``fixed={"E": 1.7}`` gives known parameters,
    ``bounds={"E": (1.0, None)}`` other bounds. Options of the intervals: ``bootstrap=1000`` resamples
    (default 0: profile likelihood); ``by="auto"`` allows for noise that runs of one size, budget, seed or launch are
    found to share, ``"row"`` takes rows as independent, ``"cell"`` (distinct values of ``keys``), ``"seed"``,
    ``"size"``, ``"budget"`` or a column says what is drawn together; ``level=0.95``, ``seed=0``; ``watch`` is called
    with the resamples done and their total.

    The result has the parameters in the law's units, the verdict on the optimum, intervals, residuals (n,) and the rows
    dropped; see `Fit`.
    """
    chosen = complete(options)
    _check(law, objective, x, y)
    formula = _law(law, x, chosen["fixed"], chosen["bounds"])
    named = objective if isinstance(objective, Objective) else _objective(objective, chosen)
    every = chosen["all_rows"] or not chosen["best"]
    weights = None if named.weights == NOISE else named.weights
    columns = Columns(x, y, weights, chosen["units"], chosen["where"], every, chosen["pool"], chosen["knobs"])
    resampling = Resampling(chosen["bootstrap"], chosen["by"], chosen["keys"], chosen["seed"])
    observations = observe(table, formula, columns)
    return fit_observations(observations, formula, named, resampling, chosen["level"], chosen["watch"])


fit.__signature__ = with_options(fit)  # type: ignore[attr-defined]


def _check(law: Any, objective: Any, x: Any, y: Any) -> None:
    """Raise InputError naming each argument of a wrong type."""
    faults = []
    if not isinstance(law, str | Law):
        faults.append(f"law = {shown(law)} (accepted: the name of a law, a formula, a Law)")
    if not isinstance(objective, str | Objective):
        faults.append(f"objective = {shown(objective)} (accepted: 'huber:DELTA', 'lad', 'ls', an Objective)")
    pairs = x.items() if isinstance(x, Mapping) else [("x", x or "x")]
    if any(not isinstance(text, str) for pair in pairs for text in pair):
        faults.append(f"x = {shown(x)} (accepted: a mapping of inputs to columns, or the column of a single input)")
    if not is_text(y):
        faults.append(f"y = {shown(y)} (accepted: the column of the loss)")
    if faults:
        raise InputError(faults)


def _objective(text: str, options: Mapping[str, Any]) -> Objective:
    return parse_objective(text, options["space"], options["reduction"], options["weights"])


def fit_observations(
    observations: Observations, law: Law, objective: Objective, resampling: Resampling = NO_RESAMPLING,
    level: float = 0.95, progress: ProgressCallback = no_progress,
) -> Fit:  # fmt: skip
    """Fit a law to rows that have been read already."""
    setup = set_up(law, objective, observations.inputs, observations.losses, observations.weights)
    solution = solve(setup)
    noise = find_noise(setup, solution.theta, observations, resampling)
    if objective.weights == NOISE and (changed := weighted(setup, solution.theta, noise)):
        setup, solution = changed, solve(changed)
        observations = replace(observations, weights=setup.problem.weights)
        noise = find_noise(setup, solution.theta, observations, resampling).with_weights(noise)
    draws, notes = _resample(setup, solution, observations, resampling, progress, noise)
    value, verdict = objective_value(setup, solution.theta), solution.verdict
    value *= float(np.mean(observations.weights)) if objective.reduction == "sum" else 1.0
    unverified = () if verdict.verified else (verdict.status,)
    reported = noise.sentences(resampled=draws is not None)
    odd = outlier_warnings(observations, setup.problem.bound.predict(solution.theta[None])[0])
    warnings = (*observations.warnings, *unverified, *_interpolation(law, observations), *odd, *reported, *notes)
    params = dict(zip(law.names, setup.to_law_units(solution.theta[None])[0].tolist(), strict=True))
    return Fit(law, objective, params, value, verdict, observations, draws, level, warnings, setup, solution, noise)


def _law(
    law: str | Law, x: str | Mapping[str, str] | None, fixed: Mapping[str, float] | None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None,
) -> Law:  # fmt: skip
    if isinstance(law, str) and law not in ALIASES and not law.replace("_", "").isalnum():
        if x is None and "x" not in re.findall(r"\w+", law):
            raise InputError(
                f"formula {law!r}: x says which of its names are inputs, and their columns, as in {{'N': 'params'}}; "
                "the other names are parameters (--x NAME=COLUMN)"
            )
        inputs = ["x"] if x is None or isinstance(x, str) else list(x)
        closed = {name: (low or 0.0, np.inf if high is None else high) for name, (low, high) in (bounds or {}).items()}
        chosen = formula_law(law, inputs, closed)
    else:
        chosen = named_law(law) if isinstance(law, str) else law
        chosen = chosen.within(**bounds) if bounds else chosen
    chosen = chosen.fix(**fixed) if fixed else chosen
    if not chosen.names:
        raise InputError(f"every parameter of {chosen.name} is fixed: nothing is left to fit")
    return chosen


def _interpolation(law: Law, observations: Observations) -> tuple[str, ...]:
    rows, count = len(observations.losses), len(law.names)
    if rows > count:
        return ()
    exactly = f"fix{'es' * (rows == 1)} {counted(count, 'parameter')} exactly"
    return (f"{counted(rows, 'row')} {exactly}: an interpolation, with no residuals to judge it by",)


def _resample(
    setup: Setup,
    solution: Solution,
    observations: Observations,
    resampling: Resampling,
    progress: ProgressCallback,
    noise: Noise,
) -> tuple[Draws | None, tuple[str, ...]]:
    """Return the draws, None if none were requested or possible, and warnings about them."""
    count = resampling.count
    if not count:
        return None, ()
    if len(observations.losses) <= len(setup.law.names):
        return None, ("no bootstrap: there are no more rows than parameters",)
    draws = bootstrap(setup, solution, observations, resampling, progress, noise)
    lost = int(np.sum(~draws.converged))
    note = f"{lost} of {count} resamples did not reach a verified optimum; they are kept"
    return draws, (note,) if lost else ()
