"""`sweeplaw fit`: fit one law to a store or a file, with its verdict, intervals and allocations of compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.options import MOST_DRAWS, names, numbers, pairs, ranges
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar

if TYPE_CHECKING:
    from sweeplaw.analysis.fitting.fitted_law import Fit

Many = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(fit)


def fit(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A store, or a CSV, Parquet or NDJSON file.")],
    law_name: Annotated[str | None, typer.Argument(metavar="[LAW]", help="The law; the same as --law.")] = None,
    law: Annotated[
        str | None, typer.Option(metavar="LAW", help="Name of a law, or a formula (default: additive).")
    ] = None,
    objective: Annotated[str, typer.Option(metavar="NAME", help="huber:DELTA, lad or ls.")] = "huber:0.001",
    space: Annotated[str, typer.Option(help="Residuals of the log of the loss (log) or of the loss (raw).")] = "log",
    reduction: Annotated[str, typer.Option(help="mean or sum over rows.")] = "mean",
    weights: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of row weights, or noise.")] = None,
    x: Annotated[Many, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of an input (repeatable).")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")] = None,
    unit: Annotated[Many, typer.Option(metavar="INPUT=FACTOR", help="Divide an input by this (repeatable).")] = None,
    fix: Annotated[Many, typer.Option(metavar="PARAM=VALUE", help="Fix a parameter (repeatable).")] = None,
    bound: Annotated[
        Many, typer.Option(metavar="PARAM=LOW:HIGH", help="Bound a parameter; either side may be empty (repeatable).")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Use only the rows for which this holds.")] = None,
    best: Annotated[bool, typer.Option("--best", hidden=True, help="The default; kept for older scripts.")] = False,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Fit every row, not only the best setting of each point.")
    ] = False,
    knobs: Annotated[
        str | None, typer.Option(metavar="A,B", help="The tuned columns (default: as recorded, or by their values).")
    ] = None,
    pool: Annotated[bool, typer.Option("--pool", help="Fit runs of several families (recipes) together.")] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, max=MOST_DRAWS, metavar="COUNT", help="Number of resamples (0: profile intervals).")
    ] = 0,
    by: Annotated[
        str,
        typer.Option(
            metavar="GROUP",
            help="Runs that share noise: auto (tested), row (none), cell, seed, size, budget or a column.",
        ),
    ] = "auto",
    cells: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns that define a cell (default: the inputs).")
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
    holdout: Annotated[
        str | None, typer.Option(metavar="KIND", help="Validate on held-out rows: largest, largest:SHARE or cell.")
    ] = None,
    compare: Annotated[
        Many, typer.Option(metavar="LAW", help="Rank against this law on held-out rows (repeatable).")
    ] = None,
    compute: Annotated[
        list[float] | None, typer.Option(metavar="FLOPS", help="Allocate this budget (repeatable).")
    ] = None,
    flops_per_nd: Annotated[
        float | None, typer.Option(metavar="K", help="K of C = K N D (default: that of the runs, or 6).")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Give allocations that are withheld, marked as not advised.")
    ] = False,
    approaches: Annotated[bool, typer.Option(help="Compare the isoFLOP approaches 1, 2 and 3.")] = False,
    simulate: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_DRAWS, metavar="SETS", help="Check the coverage of the intervals on simulated sets."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    json: Json = False,
) -> None:
    """Fit a law to the runs in SOURCE. Report its parameters with intervals, and whether the optimum is proved.

    Laws: power, power_asymptote, reciprocal, additive, skaling, kaplan, farseer, data_constrained, overfitting, batch,
    critical_batch, steps_to_loss, mixture_of_experts, precision, broken, or a formula such as
    "E + A / N**a + B / D**b" whose names are inputs (--x) and parameters. In a store of our own, N is
    params_non_embedding, D is tokens and the loss is val_loss; in any other file, name the columns or expressions of
    columns.

    The rows used are those of the best setting of the tuned knobs at each point (each combination of the law's inputs),
    by the mean over seeds; the losses are corrected for that selection. --all-rows uses all.

    Three verdicts are printed: whether the optimum is found, the law adequate to the runs, and its parameters
    identified. Where one fails, no allocation of compute is advised, unless --force; a law that cannot be judged is
    marked.

    Intervals are profile likelihood, or percentiles of --bootstrap resamples.

    Example: sweeplaw fit runs.csv --law additive --x N=params --x D=tokens --y loss --bootstrap 1000 --holdout largest

    Example: sweeplaw fit results/demo additive --objective huber:0.001 --json
    """
    from sweeplaw.analysis.fitting.display.fit_summary import summarise
    from sweeplaw.analysis.fitting.fit import fit as fit_law
    from sweeplaw.analysis.tables.tables import read
    from sweeplaw.trials.errors import InputError

    if law is not None and law_name is not None and law != law_name:
        raise InputError(f"give the law once: {law_name!r} and --law {law!r} conflict")
    chosen = law or law_name or "additive"
    options: dict[str, Any] = {
        "space": space, "reduction": reduction, "weights": weights, "x": pairs(x, "--x", "x") or None, "y": y,
        "units": numbers(pairs(unit, "--unit", "x"), "--unit") or None,
        "fixed": numbers(pairs(fix, "--fix", "x"), "--fix") or None,
        "bounds": ranges(pairs(bound, "--bound", "x"), "--bound") or None,
        "where": where, "all_rows": all_rows, "pool": pool,
        "knobs": None if knobs is None else list(names(knobs)), "by": by, "keys": list(names(cells)), "level": level,
        "seed": seed,
    }  # fmt: skip
    runs = read(source)
    with progress_bar("resamples") as progress:
        found = fit_law(runs, chosen, objective, bootstrap=bootstrap, watch=progress, **options)
    with progress_bar("profiles") as progress:
        found.profiled(progress)
    checks = _checks(found, holdout, approaches, simulate, seed, force)
    if compare:
        others = {name: fit_law(runs, name, objective, **options) for name in compare}
        checks["comparison"] = _ranking({chosen: found, **others})
    if json:
        emit_json({**found.to_dict(compute or (), flops_per_nd, force), **checks})
    else:
        from sweeplaw.orchestrator.cli.laws.fit_text import show

        show({**summarise(found, compute or (), flops_per_nd, force), **checks})
    report_damage(runs.faults)


def _checks(found: Fit, holdout: str | None, approaches: bool, simulate: int, seed: int, force: bool) -> dict[str, Any]:
    """Return the requested checks: errors on held-out rows, isoFLOP approaches, coverage."""
    checks: dict[str, Any] = {}
    if holdout:
        checks["holdout"] = _holdout(found, holdout)
    if approaches:
        from sweeplaw.analysis.fitting.derived.allocation import flops_per_nd
        from sweeplaw.analysis.scaling.isoflop import compare_approaches

        made = compare_approaches(found, flops_per_nd(found)[0], seed=seed, force=force)
        checks["approaches"] = [item.to_dict() for item in made]
    if simulate:
        checks["coverage"] = _coverage(found, simulate, seed)
    return checks


def _holdout(found: Fit, kind: str) -> dict[str, Any]:
    from sweeplaw.analysis.scaling.validation import LARGEST_SHARE, largest, leave_cell_out
    from sweeplaw.trials.errors import InputError

    name, _, text = kind.partition(":")
    if name == "cell" and not text:
        return leave_cell_out(found).summary()
    try:
        share = float(text) if text else LARGEST_SHARE
    except ValueError:
        share = 0.0
    if name != "largest" or not 0 < share < 1:
        raise InputError(f"--holdout {kind} (accepted: largest, largest:SHARE with SHARE between 0 and 1, cell)")
    return largest(found, share).summary()


def _coverage(found: Fit, sets: int, seed: int) -> list[dict[str, Any]]:
    """Return the coverage at the fit's parameters, rows and residual spread, for Gaussian and heavy-tailed noise."""
    import numpy as np

    from sweeplaw.analysis.fitting.coverage import coverage

    inputs = dict(found.observations.inputs)
    scale = float(np.std(found.residuals)) or 1e-3
    return [
        coverage(
            found.law, found.params, inputs, found.objective, scale=scale, noise=noise, sets=sets, seed=seed
        ).to_dict()
        for noise in ("gaussian", "t3")
    ]


def _ranking(fits: dict[str, Fit]) -> list[dict[str, Any]]:
    from sweeplaw.analysis.scaling.validation import ranking

    return [
        {"law": name, "held_out_rms_nats": score, "against_best": pair.to_dict() if pair else None}
        for name, score, pair in ranking(fits)
    ]
