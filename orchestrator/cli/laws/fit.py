"""`sweeplaw fit`: one law on a store or a file, with its verdict, intervals and what it says about the next budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json

if TYPE_CHECKING:
    from sweeplaw.analysis.fitting.fit import Fit

HELP = """Fit a law to the runs in SOURCE (a store, or a CSV, Parquet or NDJSON file).

Laws: power, power_asymptote, reciprocal, additive, skaling, kaplan, data_constrained, batch, broken, or a formula such
as "E + A / N**a + B / D**b" whose names are inputs (--x) and parameters. On our own store N is params_non_embedding, D
is tokens and the loss is val_loss; on any other file name the columns, or expressions of columns.

Intervals are profile likelihood, or percentiles of --bootstrap resamples. A fit whose optimum is not proved says so.

Example: sweeplaw fit runs.csv --law additive --x N=params --x D=tokens --y loss --bootstrap 1000 --holdout largest

Example: sweeplaw fit results/demo additive --objective huber:0.001 --json
"""

Many = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit", help=HELP)(fit)


def fit(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A store, or a CSV, Parquet or NDJSON file.")],
    law_name: Annotated[str | None, typer.Argument(metavar="[LAW]", help="The law; the same as --law.")] = None,
    law: Annotated[
        str | None, typer.Option(metavar="LAW", help="A law's name or a formula (default: additive).")
    ] = None,
    objective: Annotated[str, typer.Option(metavar="NAME", help="huber:DELTA, lad or ls.")] = "huber:0.001",
    space: Annotated[str, typer.Option(help="Residuals of the loss (raw) or of its logarithm (log).")] = "raw",
    reduction: Annotated[str, typer.Option(help="mean or sum over rows.")] = "mean",
    weights: Annotated[str | None, typer.Option(metavar="COLUMN", help="Weight of each row.")] = None,
    x: Annotated[Many, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of an input; repeat it.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="The loss.")] = None,
    unit: Annotated[Many, typer.Option(metavar="INPUT=FACTOR", help="Divide an input by this; repeat it.")] = None,
    fix: Annotated[Many, typer.Option(metavar="PARAM=VALUE", help="A known parameter; repeat it.")] = None,
    bound: Annotated[Many, typer.Option(metavar="PARAM=LOW:HIGH", help="Bounds; either side may be empty.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows for which this holds.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Only the lowest loss at each point of the law.")] = False,
    bootstrap: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Resamples (0: profile intervals).")] = 0,
    by: Annotated[str, typer.Option(help="Resample by row, cell or seed.")] = "row",
    cells: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns that make a cell (default: inputs).")
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    holdout: Annotated[str | None, typer.Option(metavar="KIND", help="largest, largest:SHARE or cell.")] = None,
    compare: Annotated[Many, typer.Option(metavar="LAW", help="Rank against this law on held-out rows.")] = None,
    compute: Annotated[
        list[float] | None, typer.Option(metavar="FLOPS", help="Allocate this budget; repeat it.")
    ] = None,
    flops_per_nd: Annotated[
        float | None, typer.Option(metavar="K", help="K of C = K N D (default: 6, or the runs' own).")
    ] = None,
    approaches: Annotated[bool, typer.Option(help="IsoFLOP approaches 1, 2 and 3 side by side.")] = False,
    simulate: Annotated[
        int, typer.Option(min=0, metavar="SETS", help="Check the intervals' coverage on simulated sets.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.fitting.fit import fit as fit_law
    from sweeplaw.analysis.report.fit_summary import summarise
    from sweeplaw.analysis.tables.tables import read
    from sweeplaw.orchestrator.cli.tables.query import tell
    from sweeplaw.trials.errors import InputError

    if law is not None and law_name is not None and law != law_name:
        raise InputError(f"two laws given, {law_name!r} and --law {law!r}")
    chosen = law or law_name or "additive"
    options: dict[str, Any] = {
        "space": space, "reduction": reduction, "weights": weights, "x": pairs(x, "--x"), "y": y,
        "units": numbers(unit, "--unit"), "fixed": numbers(fix, "--fix"), "bounds": ranges(bound), "where": where,
        "best": best,
        "by": by, "keys": [name for name in (cells or "").split(",") if name], "level": level, "seed": seed,
    }  # fmt: skip
    runs = read(source)
    with counting("resamples") as watch:
        found = fit_law(runs, chosen, objective, bootstrap=bootstrap, watch=watch, **options)
    with counting("profiles") as watch:
        found.profiled(watch)
    answer = summarise(found, compute or (), flops_per_nd)
    answer |= _checks(found, holdout, approaches, simulate, answer, seed)
    if compare:
        others = {name: fit_law(runs, name, objective, **options) for name in compare}
        answer["comparison"] = _ranking({chosen: found, **others})
    if json:
        emit_json(answer)
    else:
        from sweeplaw.orchestrator.cli.shared.fit_text import show

        show(answer)
    tell([], runs.faults)


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str] | None:
    """``NAME=TEXT`` options as a mapping; a text without = is the one input's column. Raises InputError."""
    from sweeplaw.trials.errors import InputError

    if not texts:
        return None
    split = [text.split("=", 1) if "=" in text else ["x", text] for text in texts]
    faults = [
        f"{option} {text!r} (accepted: NAME=VALUE)" for text, part in zip(texts, split, strict=True) if not all(part)
    ]
    twice = {part[0] for part in split if [other[0] for other in split].count(part[0]) > 1}
    faults += [f"{option} gives {name} twice" for name in sorted(twice)]
    if faults:
        raise InputError(faults)
    return {name.strip(): value.strip() for name, value in split}


def numbers(texts: Sequence[str] | None, option: str) -> dict[str, float] | None:
    """``NAME=NUMBER`` options as a mapping. Raises InputError."""
    from sweeplaw.trials.errors import InputError

    given, values, faults = pairs(texts, option), {}, []
    for name, value in (given or {}).items():
        try:
            values[name] = float(value)
        except ValueError:
            faults.append(f"{option} {name}={value}: {value!r} is not a number")
    if faults:
        raise InputError(faults)
    return values or None


def ranges(texts: Sequence[str] | None) -> dict[str, tuple[float | None, float | None]] | None:
    """``NAME=LOW:HIGH`` options as a mapping. Raises InputError."""
    from sweeplaw.trials.errors import InputError

    found: dict[str, tuple[float | None, float | None]] = {}
    for name, text in (pairs(texts, "--bound") or {}).items():
        low, colon, high = text.partition(":")
        try:
            found[name] = (float(low) if low else None, float(high) if high else None)
        except ValueError:
            colon = ""
        if not colon:
            raise InputError(f"--bound {name}={text} (accepted: NAME=LOW:HIGH, either side may be empty)")
    return found or None


def _checks(
    found: Fit, holdout: str | None, approaches: bool, simulate: int, answer: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The held-out errors, isoFLOP approaches and coverage that were asked for."""
    more: dict[str, Any] = {}
    if holdout:
        more["holdout"] = _holdout(found, holdout)
    if approaches:
        from sweeplaw.analysis.report.fit_summary import approach_values, flops_per_nd
        from sweeplaw.analysis.scaling.isoflop import compare_approaches

        more["approaches"] = [
            approach_values(item) for item in compare_approaches(found, flops_per_nd(found)[0], seed=seed)
        ]
    if simulate:
        more["coverage"] = _coverage(found, simulate, seed)
    return more


def _holdout(found: Fit, kind: str) -> dict[str, Any]:
    from sweeplaw.analysis.fitting.validation import LARGEST_SHARE, largest, leave_cell_out
    from sweeplaw.trials.errors import InputError

    name, _, share = kind.partition(":")
    if name == "cell" and not share:
        return leave_cell_out(found).summary()
    try:
        part = float(share) if share else LARGEST_SHARE
    except ValueError:
        part = 0.0
    if name != "largest" or not 0 < part < 1:
        raise InputError(f"--holdout {kind} (accepted: largest, largest:SHARE with SHARE between 0 and 1, cell)")
    return largest(found, part).summary()


def _coverage(found: Fit, sets: int, seed: int) -> list[dict[str, Any]]:
    """Coverage with the fit's own parameters, rows and residual spread, for Gaussian and heavy-tailed noise."""
    import numpy as np

    from sweeplaw.analysis.fitting.coverage import coverage
    from sweeplaw.analysis.report.fit_summary import coverage_values

    inputs = dict(found.observations.inputs)
    scale = float(np.std(found.residuals)) or 1e-3
    return [
        coverage_values(
            coverage(found.law, found.params, inputs, found.objective, scale=scale, noise=noise, sets=sets, seed=seed)
        )
        for noise in ("gaussian", "t3")
    ]


def _ranking(fits: dict[str, Fit]) -> list[dict[str, Any]]:
    from sweeplaw.analysis.fitting.validation import ranking
    from sweeplaw.analysis.report.fit_summary import comparison_values

    return [
        {"law": name, "held_out_rms_nats": score, "against_best": comparison_values(pair) if pair else None}
        for name, score, pair in ranking(fits)
    ]
