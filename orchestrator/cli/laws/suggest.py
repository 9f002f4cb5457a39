"""`sweeplaw suggest`: learning rate, batch size, weight decay and steps for a model that was not swept."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import number
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.runs import STEPS, Let, Where, Y, read_runs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suggest")(suggest)


def suggest(
    params: Annotated[
        float, typer.Option(parser=number, metavar="COUNT", help="N, as the law counts parameters: 7e9 or 7B.")
    ],
    tokens: Annotated[float, typer.Option(parser=number, metavar="COUNT", help="D, training tokens: 1.4e12 or 1.4T.")],
    store: Annotated[str | None, typer.Option(metavar="SOURCE", help="Runs to fit the laws to.")] = None,
    law: Annotated[str | None, typer.Option(metavar="NAME", help="A published law (default: step-law).")] = None,
    sequence_length: Annotated[int, typer.Option(metavar="TOKENS", help="Tokens in a sequence.")] = 2048,
    estimator: Annotated[str, typer.Option(metavar="NAME", help="pooled:THRESHOLD, cells or joint.")] = "joint",
    y: Y = "val_loss",
    let: Let = None,
    where: Where = None,
    json: Json = False,
) -> None:
    """Suggest hyperparameters for a model of --params parameters trained on --tokens tokens.

    The source is the runs in --store, to which laws over N and D are fitted, or a published --law. Each value comes
    with its 95 % interval, the factor it may be off for 0.25 % of loss, the distance of the model from the evidence,
    and the published laws that disagree.

    Example: sweeplaw suggest --params 7B --tokens 1.4T --law step-law
    """
    from sweeplaw.trials.errors import InputError

    if store and law:
        raise InputError("give --store or --law, not both")
    if store:
        from sweeplaw.analysis.hyperlaws.suggestion.from_runs import suggest as from_runs

        runs = read_runs(store, ["N", "D"], y, let, where, STEPS)
        with progress_bar("resamples") as progress:
            found = from_runs(
                runs.frame, params, tokens, sequence_length, y, runs.launches, estimator=estimator, progress=progress
            )
        reading, faults = runs.notes, runs.faults
    else:
        from sweeplaw.analysis.hyperlaws.suggestion.suggest import from_law

        found = from_law(law or "step-law", params, tokens, sequence_length)
        reading, faults = [], ()
    if json:
        emit_json({"source": store or law or "step-law", **found.to_dict(), "reading": reading})
    else:
        typer.echo(found.summary())
        print_notes(reading)
    report_damage(faults)
