"""`sweeplaw time-law`: how the time to an event depends on the knobs, where some trials have not had it."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names, numbers, pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.runs import Let, Source, Where, read_runs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("time-law")(time_law)


def time_law(
    source: Source,
    x: Annotated[list[str], typer.Option("--x", metavar="COLUMN", help="An input of the law (repeatable).")],
    time: Annotated[str, typer.Option(metavar="COLUMN", help="Time of the event; null without it.")] = "grok_step",
    censored: Annotated[
        str, typer.Option(metavar="COLUMN", help="Censoring time (last observation without the event).")
    ] = "grok_censored_step",
    residuals: Annotated[str, typer.Option(metavar="NAME", help="log-normal or weibull.")] = "log-normal",
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="INPUT=VALUE,...", help="Also the time there (repeatable).")
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
    let: Let = None,
    where: Where = None,
    json: Json = False,
) -> None:
    """Fit a law of the time to an event, t* = A x1^a x2^b ..., to trials in which the event may be censored.

    A trial without the event is right-censored: its time counts as above its last observation, so that it biases no
    exponent. The fit is by maximum likelihood, its optimum is verified, and the intervals are those of the profile
    likelihood. t* is the median time (log-normal) or that before which 63 % of trials have the event (weibull). Without
    any event the answer is a bound. Trials that failed have no time and are left out.

    Example: sweeplaw time-law results/grokking --x weight_decay --x train_fraction
    """
    from sweeplaw.analysis.event_times.observations import event_times
    from sweeplaw.analysis.event_times.summary import summary
    from sweeplaw.analysis.event_times.time_law import fit_time_law

    points = [numbers(pairs(names(text), "--at"), "--at") for text in at or ()]
    runs = read_runs(source, [*x, censored], time, [*(let or ()), *_never(source, time, censored)], where, "")
    found = fit_time_law(event_times(runs.frame, time, censored, x), residuals, level=level, at=points)
    if json:
        emit_json({"source": source, "time": time, "censored": censored, **found.to_dict(), "reading": runs.notes})
    else:
        typer.echo(summary(found, time))
        print_notes(runs.notes)
    report_damage(runs.faults)


def _never(source: str, time: str, censored: str) -> list[str]:
    """Return that a column is null in every row, where the workload of these trials measures it but none has it.

    A store has columns only of numbers that some trial has: none of the event if it never occurred, and none of its
    censoring if it always did.
    """
    from sweeplaw.analysis.tables import tables
    from sweeplaw.orchestrator.monitor.column_reference import measured

    loaded = tables.load(source, states=None)
    missing = {time, censored} - {*loaded.trials.collect_schema()}
    return [f"{name}=CAST(NULL AS DOUBLE)" for name in sorted(missing & measured(loaded))]
