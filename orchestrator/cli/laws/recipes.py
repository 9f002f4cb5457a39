"""`sweeplaw recipes`: recipes compared by the limits of their laws, where data is what is short."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.options import MOST_DRAWS, names, pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.runs import Where
from sweeplaw.trials.errors import InputError, gathered

if TYPE_CHECKING:
    from sweeplaw.analysis.recipes.study.study import RecipeStudy


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recipes")(recipes)


def recipes(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="A store or a file of several recipes, or NAME=SOURCE for each."),
    ],
    standard: Annotated[str, typer.Option(metavar="NAME", help="The recipe whose data the others save.")] = "standard",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", metavar="NAME=K,N", help="Axes in which a recipe is taken to its limit, or none (repeatable)."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="ROLE=EXPR", help="The column of recipe, N, U, K, loss, error, ... (repeatable)."
        ),
    ] = None,
    knob: Annotated[
        list[str] | None, typer.Option("--knob", metavar="NAME", help="A further tuned column (repeatable).")
    ] = None,
    retained: Annotated[
        list[str] | None,
        typer.Option(
            "--retained",
            metavar="STUDENT=TEACHER",
            help="Share of the teacher's gain that a student keeps (repeatable).",
        ),
    ] = None,
    crossing: Annotated[
        list[str] | None,
        typer.Option("--crossing", metavar="A,B,AXIS", help="Where A overtakes B along N, U or compute (repeatable)."),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(min=0.0, metavar="NATS", help="Standard deviation of a run, if no seeds repeat.")
    ] = None,
    draws: Annotated[int, typer.Option(min=0, max=MOST_DRAWS, help="Draws behind the intervals.")] = 1000,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
    where: Where = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the tables and figures as one HTML page.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also write the figures as SVG files.")] = None,
    json: Json = False,
) -> None:
    """Compare recipes by their limits: of many members (K), of large models (N), of both, and over the data (U).

    For each recipe and U: the limit with its interval, and its data-efficiency multiple, which is how much more data
    the standard recipe would need. Then the laws, the points they hang on, the compute, and the best weight decay.
    Roles of columns: recipe, N, U, K, loss, error (standard error), subset (members, with commas), pick (the loss that
    settings are chosen by), epochs, lr, weight_decay, tokens (trained on), flops (else 6 N K tokens), validation.

    Example: sweeplaw recipes standard=results/standard tuned=results/tuned ensemble=results/ensemble

    Example: sweeplaw recipes losses.csv --column U=D --column error="tolerance / 2" --limit ensemble=K,N
    """
    from sweeplaw.analysis.recipes.study.questions import answered
    from sweeplaw.analysis.recipes.study.study import recipe_limits

    given: dict[str, Any] = gathered({
        "sources": partial(_sources, sources), "limits": partial(_limits, limit),
        "columns": partial(pairs, column, "--column"), "retained": partial(pairs, retained, "--retained"),
        "crossings": partial(_crossings, crossing),
    })  # fmt: skip
    study = recipe_limits(
        given["sources"], standard=standard, limits=given["limits"], columns=given["columns"],
        knobs=knob, where=where, noise=noise, draws=draws, level=level,
    )  # fmt: skip
    study, shares, crossings = answered(study, given["retained"], given["crossings"])
    if page is not None:
        from sweeplaw.analysis.report.recipes.section import write_page

        write_page(page, ", ".join(sources), study, shares)
    if figures is not None:
        from sweeplaw.analysis.report.recipes.section import write_figures

        write_figures(figures, study, shares)
    if json:
        _emit(sources, study, shares, crossings)
    else:
        _print(study, shares, crossings)
    report_damage(study.runs.faults)


def _sources(texts: Sequence[str]) -> Any:
    """Return the one source, or sources by the names of their recipes. Raise InputError."""
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if plain := [text for text in texts if "=" not in text]:
        raise InputError([f"source {text!r} of several has no name (accepted: NAME=SOURCE)" for text in plain])
    return pairs(texts, "source")


def _limits(texts: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    return {name: () if axes == "none" else names(axes) for name, axes in pairs(texts, "--limit").items()}


def _crossings(texts: Sequence[str] | None) -> list[tuple[str, str, str]]:
    """Return the two recipes and the axis of each crossing. Raise InputError for those that are not three names."""
    split = [(text, names(text)) for text in dict.fromkeys(texts or ())]
    if malformed := [text for text, parts in split if len(parts) != 3]:
        raise InputError([f"--crossing {text!r} (accepted: A,B,N or A,B,U or A,B,compute)" for text in malformed])
    return [(first, second, along) for _, (first, second, along) in split]


def _emit(sources: Sequence[str], study: RecipeStudy, shares: Sequence[Any], crossings: Sequence[Any]) -> None:
    emit_json({
        "sources": list(sources), **study.to_dict(), "retained": [one.to_dict() for one in shares],
        "crossings": [{"first": a, "second": b, **found.to_dict()} for a, b, _, found in crossings],
    })  # fmt: skip


def _print(study: RecipeStudy, shares: Sequence[Any], crossings: Sequence[Any]) -> None:
    typer.echo(study.summary())
    if shares:
        from sweeplaw.analysis.recipes.study.cards import retained_card

        typer.echo("\n" + retained_card(shares).text())
    for a, b, _, found in crossings:
        typer.echo("\n" + "\n".join([f"{a} (A) and {b} (B)", *found.headline()]))
