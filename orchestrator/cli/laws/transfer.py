"""`sweeplaw transfer`: one setting for many workloads, and a list to try in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.pictures import Picture, check_picture, write_picture
from sweeplaw.orchestrator.cli.shared.runs import Knobs, Let, Source, Where, Y, read_runs, recipes_apart
from sweeplaw.trials.quantities import counted, percent, settings

if TYPE_CHECKING:
    from sweeplaw.analysis.tuning.transfer import Transfer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("transfer")(transfer)


def transfer(
    source: Source,
    knob: Knobs,
    workload: Annotated[str, typer.Option(metavar="A,B", help="Columns that define a workload.")],
    y: Y = "val_loss",
    evaluate_on: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Workloads to evaluate on, not to tune on (an expression of their columns)."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="K", help="Length of the list.")] = 5,
    let: Let = None,
    where: Where = None,
    out: Picture = None,
    json: Json = False,
) -> None:
    """Find one setting for many workloads, and the best list of settings to try in order.

    A workload is one combination of the --workload columns, such as corpora and sizes. Settings are chosen on the
    tuning workloads and evaluated on the others: those for which --evaluate-on holds, by default every second one in
    each column. The picture is their performance profile: the share of workloads in which it is within each excess of
    their own best.

    Example: sweeplaw transfer results/surrogate --workload N,D --knob lr --knob batch_tokens --evaluate-on "N > 1e8"
    """
    from sweeplaw.analysis.tables.sql.expressions import condition
    from sweeplaw.analysis.tuning.transfer import PROFILE
    from sweeplaw.analysis.tuning.transfer import transfer as choose
    from sweeplaw.trials.errors import InputError

    check_picture(out)
    axes = names(workload)
    runs = read_runs(source, [*axes, *knob], y, let, where, "")
    held_out = condition(evaluate_on, runs.frame.select(axes).schema) if evaluate_on else None
    if further := recipes_apart(runs, axes, knob, y)[len(axes) :]:
        raise InputError(
            f"the runs of a workload differ in {', '.join(further)}, and their losses are not averaged",
            hints=[f"--where selects one; --workload {','.join([*axes, *further])} has a workload for each"],
        )
    found = choose(runs.frame, axes, knob, y, evaluate_on=held_out, k=count)
    if out is not None:
        from sweeplaw.analysis.report.paper.tuning_figures import profile_figure

        write_picture(out, profile_figure(found))
    if json:
        emit_json({"source": source, "y": y, "profile_at": PROFILE, **found.to_dict(), "notes": runs.notes})
    else:
        _print(found, runs.notes)
    report_damage(runs.faults)


def _print(found: Transfer, notes: Sequence[str]) -> None:
    from sweeplaw.analysis.tuning.transfer import PROFILE

    typer.echo(repr(found))
    for one in found.workloads:
        single, listed = one.excess()
        after = f", {listed} after the list" if listed else ""
        typer.echo(f"{one.phase:10s} {settings(one.workload)}: {single}{after} ({one.rows} rows, best {one.best:.4f})")
    for phase, shares in found.profiles.items():
        within = ", ".join(
            f"{percent(share, '.0f')} within {percent(limit, '.2f')}"
            for limit, share in zip(PROFILE, shares, strict=True)
        )
        typer.echo(f"{phase}: {within}")
    left_out = [f"{counted(dropped, 'row')} left out: {reason}" for reason, dropped in found.dropped.items() if dropped]
    print_notes([*left_out, *notes])
