"""`sweeplaw suggest`: learning rate, batch size, weight decay and steps for a model nobody swept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.laws.hyperlaw import STEPS, Let, Where, Y
from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json
from sweeplaw.trials.quantities import number

if TYPE_CHECKING:
    import polars as pl

    from sweeplaw.analysis.hyperlaws.suggest import Suggestion

HELP = """What to set for a model of --params parameters trained on --tokens tokens.

From the runs in --store (laws over N and D fitted to them) or from a published --law (step-law when neither is given).
Each value comes with its 95 % interval, the factor it may be off for 0.25 % of loss, how far the question lies beyond
the evidence, and the published laws that disagree.

Example: sweeplaw suggest --params 7B --tokens 1.4T --law step-law
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suggest", help=HELP)(suggest)


def suggest(
    params: Annotated[
        float, typer.Option(parser=number, metavar="COUNT", help="N, counted as the law counts it: 7e9 or 7B.")
    ],
    tokens: Annotated[float, typer.Option(parser=number, metavar="COUNT", help="D, training tokens: 1.4e12 or 1.4T.")],
    store: Annotated[str | None, typer.Option(metavar="SOURCE", help="Runs to fit the laws to.")] = None,
    law: Annotated[str | None, typer.Option(metavar="NAME", help="A published law.")] = None,
    sequence_length: Annotated[int, typer.Option(metavar="TOKENS", help="Tokens in a sequence.")] = 2048,
    estimator: Annotated[str, typer.Option(metavar="NAME", help="pooled:THRESHOLD, cells or joint.")] = "joint",
    y: Y = "val_loss",
    let: Let = None,
    where: Where = None,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.hyperlaws.suggest import from_law, from_runs
    from sweeplaw.orchestrator.cli.laws.hyperlaw import table
    from sweeplaw.orchestrator.cli.tables.query import tell
    from sweeplaw.trials.errors import InputError

    if store and law:
        raise InputError("give --store or --law, not both: an answer has one source")
    if store:
        frame, reading, faults = table(store, ["N", "D"], y, let, where, STEPS)
        found = from_runs(_laws(frame, store, estimator, y), params, tokens, sequence_length)
    else:
        found = from_law(law or "step-law", params, tokens, sequence_length)
        reading, faults = [], ()
    if json:
        emit_json({"source": store or law or "step-law", **_statement(found), "reading": reading})
    else:
        _print(found, reading)
    tell([], faults)


def _laws(frame: pl.DataFrame, store: str, estimator: str, y: str) -> Any:
    """Laws over N and D of whichever of the knobs the runs tuned within their cells."""
    import polars as pl

    from sweeplaw.analysis.hyperlaws.comparison import KNOBS
    from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
    from sweeplaw.trials.errors import InputError

    present = [name for name in KNOBS if name in frame.columns and frame[name].dtype.is_numeric()]
    values = frame.group_by("N", "D").agg(pl.col(present).n_unique())
    tuned = [name for name in present if (values[name] > 1).any()]
    if not tuned:
        raise InputError(
            f"{store} tuned none of {', '.join(KNOBS)} within a cell of N and D (--law step-law needs no runs)"
        )
    with counting("resamples") as watch:
        return hyperlaw(frame, ("N", "D"), tuned, estimator, y, watch=watch)


def _statement(found: Suggestion) -> dict[str, Any]:
    return {
        "params": found.params,
        "tokens": found.tokens,
        "settings": {
            name: {
                "value": setting.value,
                "interval": [setting.low, setting.high],
                "plateau_factor": setting.plateau,
                "source": setting.source,
            }
            for name, setting in found.settings.items()
        },
        "decades_beyond_the_evidence": dict(found.decades),
        "disagreements": [
            {
                "law": other.law,
                "knob": other.knob,
                "value": other.value,
                "factor": other.factor,
                "beyond_plateau": other.beyond,
                "verified": other.verified,
            }
            for other in found.disagreements
        ],
        "notes": list(found.notes),
    }


def _print(found: Suggestion, reading: list[str]) -> None:
    for name, setting in found.settings.items():
        interval = f"  95 % [{setting.low:.4g}, {setting.high:.4g}]" if setting.low is not None else "  no interval"
        plateau = f"  may be off by {setting.plateau:.2f}x for 0.25 % of loss" if setting.plateau else ""
        typer.echo(f"{name:16s} {setting.value:10.4g}{interval}{plateau}  ({setting.source})")
    for axis, far in found.decades.items():
        side = (
            "inside the evidence"
            if far == 0
            else f"{abs(far):.2f} decades {'above' if far > 0 else 'below'} the evidence"
        )
        typer.echo(f"{axis}: {side}")
    for other in found.disagreements:
        mark = {True: ", beyond the plateau", False: ", within the plateau", None: ""}[other.beyond]
        standing = "" if other.verified else " [second-hand]"
        typer.echo(f"{other.law}{standing} says {other.knob} = {other.value:.4g}: {other.factor:.2f}x ours{mark}")
    for note in (*found.notes, *reading):
        typer.echo(f"note: {note}")
