"""`sweeplaw transfer`: one setting for many workloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.laws.hyperlaw import Knobs, Let, Source, Where, Y
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json
from sweeplaw.trials.quantities import settings

if TYPE_CHECKING:
    from sweeplaw.analysis.tuning.transfer import Transfer

HELP = """The single configuration, and the best list to try in order, for all the workloads in SOURCE.

A workload is one combination of the --workload columns (corpora, sizes). Configurations are chosen on the tuning
workloads alone and judged on the others: those for which --evaluate-on holds, else every second one.

Example: sweeplaw transfer results/surrogate --workload N,D --knob lr --knob batch_tokens --evaluate-on "N > 1e8"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("transfer", help=HELP)(transfer)


def transfer(
    source: Source,
    knob: Knobs,
    workload: Annotated[str, typer.Option(metavar="A,B", help="Columns that tell workloads apart.")],
    y: Y = "val_loss",
    evaluate_on: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Workloads kept out of the tuning (an expression of their columns)."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="K", help="Length of the list.")] = 5,
    let: Let = None,
    where: Where = None,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.tables.expressions import parse
    from sweeplaw.analysis.tuning.transfer import PROFILE
    from sweeplaw.analysis.tuning.transfer import transfer as choose
    from sweeplaw.orchestrator.cli.laws.hyperlaw import table
    from sweeplaw.orchestrator.cli.tables.query import names, tell

    tasks = names(workload)
    frame, notes, faults = table(source, [*tasks, *knob], y, let, where, "")
    held = parse(evaluate_on, tasks) if evaluate_on else None
    found = choose(frame, tasks, knob, y, evaluate_on=held, k=count)
    if json:
        emit_json({"source": source, "y": y, "profile_at": PROFILE, **asdict(found), "notes": notes})
    else:
        _print(found, notes)
    tell([], faults)


def _print(found: Transfer, notes: Sequence[str]) -> None:
    from sweeplaw.analysis.tuning.transfer import PROFILE

    typer.echo(f"one setting: {settings(found.single)} (of {found.candidates} run in every tuning workload)")
    for number, setting in enumerate(found.order, start=1):
        typer.echo(f"  try {number}: {settings(setting)}")
    for one in found.workloads:
        excess = "not run" if one.single is None else f"+{one.single:.2%}"
        after = "" if one.list[-1] is None else f", +{one.list[-1]:.2%} after the list"
        typer.echo(f"{one.phase:10s} {settings(one.workload)}: {excess}{after} ({one.rows} rows, best {one.best:.4f})")
    for phase, shares in found.profiles.items():
        within = ", ".join(f"{share:.0%} within {limit:.2%}" for limit, share in zip(PROFILE, shares, strict=True))
        typer.echo(f"{phase}: {within}")
    for reason, dropped in found.dropped.items():
        if dropped:
            typer.echo(f"note: {dropped} rows left out: {reason}")
    for note in notes:
        typer.echo(f"note: {note}")
