"""`sweeplaw next`: what to run next, with its price, and a sweep file of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.forecasts import points
from sweeplaw.orchestrator.cli.shared.options import pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage, write_sweep
from sweeplaw.orchestrator.cli.shared.progress import progress_bar

if TYPE_CHECKING:
    from sweeplaw.analysis.next_runs.run_plan import RunPlan
    from sweeplaw.analysis.report.next_section import Advice


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("next")(next_)


def next_(
    source: Annotated[str, typer.Argument(metavar="STORE", help="A store, or a CSV, Parquet or NDJSON file.")],
    target: Annotated[
        str | None, typer.Option(metavar="N=..,D=..", help="Where the loss matters (default: ten times the compute).")
    ] = None,
    plan: Annotated[int | None, typer.Option(min=1, help="Number of the plan to write as a sweep file.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new sweep file (default: standard output).")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sweep that --plan writes, in a store of several.")
    ] = None,
    x: Annotated[
        list[str] | None, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of N or D (repeatable).")
    ] = None,
    y: Annotated[str, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")] = "val_loss",
    where: Annotated[str | None, typer.Option(help='SQL condition on the trials, such as "tokens > 1e6".')] = None,
    json: Json = False,
) -> None:
    """List suggested next runs: unresolved settings first, then the most informative about the law per FLOP.

    Example: sweeplaw next results/surrogate --target N=1e10,D=2e11
    """
    from sweeplaw.analysis.report.next_section import advise
    from sweeplaw.analysis.tables.tables import unless_damaged
    from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import launched_sweep
    from sweeplaw.orchestrator.plan.new_sweeps.next_sweep import next_sweep
    from sweeplaw.trials.errors import InputError

    place = None
    if target is not None:
        ((given,), _) = points([target], [])
        if set(given) != {"N", "D"}:
            raise InputError(f"--target {target} (accepted: N and D, as in N=7e9,D=1.4e11)")
        place = (given["N"], given["D"])

    def found(verify: bool) -> Advice:
        return advise(source, target=place, where=where, loss=y, x=pairs(x, "--x"), verify=verify)

    with progress_bar("laws"):
        advice = unless_damaged(found)
    if plan is None and sweep is not None:
        launched_sweep(advice.tables, sweep)  # which refuses a misspelt one
    numbered = [(name, one) for name, plans in advice.plans.items() for one in plans]
    if plan is not None:
        if plan > len(numbered):
            accepted = f" (accepted: 1 to {len(numbered)})" if numbered else ""
            raise InputError(f"--plan {plan}: there are {len(numbered)} plans{accepted}")
        family, chosen = numbered[plan - 1]
        text = next_sweep(advice.tables, chosen, advice.by.n, family=advice.values[family], sweep=sweep, loss=y)
        write_sweep(text, out)
    elif json:
        emit_json({"source": source, "plans": [{"family": name, **one.to_dict()} for name, one in numbered]})
    elif not advice.plans:
        typer.echo("No completed trial has N, D and a positive finite loss: there is nothing to advise on.")
    else:
        several = len(advice.plans) > 1
        _print(numbered, several)
        for name, notes in advice.notes.items():
            print_notes(f"{note} [{name}]" if several else note for note in notes)
    report_damage(advice.tables.faults)


def _print(numbered: Sequence[tuple[str, RunPlan]], several: bool) -> None:
    from sweeplaw.trials.quantities import counted, percent, short

    if not numbered:
        typer.echo(
            "Nothing stands out: every optimum lies inside its grid, and no few runs would narrow the law by 5 %."
        )
    for number, (name, one) in enumerate(numbered, start=1):
        price = f"{short(one.flops)} FLOPs" if one.flops is not None else "FLOPs unknown"
        gain = f", narrows the loss by {percent(round(one.narrower, 3))}" if one.narrower is not None else ""
        family = f" [{name}]" if several else ""
        typer.echo(f"{number:3d}. {one.title}{family}: {counted(one.trials, 'trial')}, {price}{gain}\n     {one.why}")
