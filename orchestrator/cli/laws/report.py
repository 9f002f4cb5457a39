"""`sweeplaw report`: figures, tables and laws in one HTML file, and the same numbers as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json

if TYPE_CHECKING:
    from sweeplaw.analysis.report.report import Section


def register(app: typer.Typer) -> None:
    @app.command()
    def report(
        source: Annotated[str, typer.Argument(metavar="STORE", help="A store, or a CSV, Parquet or NDJSON file.")],
        out: Annotated[
            Path | None, typer.Option(help="Folder for report.html and report.json (default: the store's own folder).")
        ] = None,
        where: Annotated[str | None, typer.Option(help='SQL condition on the trials, such as "tokens > 1e6".')] = None,
        json: Json = False,
    ) -> None:
        """Write a report of a store: what was run, laws with their bands, optima, residuals, failures, provenance.

        Example: sweeplaw report results/demo
        """
        from sweeplaw.analysis.report.page import write
        from sweeplaw.analysis.report.report import Report, make, report_values
        from sweeplaw.analysis.tables.tables import unless_damaged
        from sweeplaw.orchestrator.cli.tables.query import tell
        from sweeplaw.trials.errors import InputError

        folder = out if out is not None else Path(source)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise InputError(f"{source} is not a local folder, so --out FOLDER is needed for the report")

        def written(verify: bool) -> tuple[Report, Path, Path]:
            made = make(source, where=where, verify=verify, watch=watch)
            return made, *write(made, folder)

        with counting("laws") as watch:
            made, html, data = unless_damaged(written)
        if json:
            emit_json({"html": str(html), "json": str(data), **report_values(made)})
        else:
            typer.echo(f"{html}\n{data}")
            for section in made.sections:
                typer.echo(f"{section.family.name}: {_law(section)}")
        tell([], made.tables.faults)


def _law(section: Section) -> str:
    fit = section.surface.fit
    return section.surface.why_not if fit is None else f"{fit.law.formula}: {_told(fit.params)} ({fit.status})"


def _told(params: object) -> str:
    return ", ".join(f"{name} = {value:.4g}" for name, value in dict(params).items())  # type: ignore[call-overload]
