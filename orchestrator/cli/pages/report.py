"""`sweeplaw report`: figures, tables and laws in one HTML file, with the same numbers as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    from sweeplaw.analysis.report.report import Report, Section


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    source: Annotated[str, typer.Argument(metavar="STORE", help="A store, or a CSV, Parquet or NDJSON file.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html and report.json (default: STORE, and runs.report.html beside runs.csv), or a "
            "page's own name, as A.html."
        ),
    ] = None,
    x: Annotated[
        list[str] | None, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of N or D (repeatable).")
    ] = None,
    y: Annotated[str, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")] = "val_loss",
    reported: Annotated[
        str | None,
        typer.Option("--report", metavar="COLUMN", help="Loss on data not used for selection, for the best of k."),
    ] = None,
    where: Annotated[str | None, typer.Option(help='SQL condition on the trials, such as "tokens > 1e6".')] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="OTHER", help="Another store or file: its runs against equal ones of STORE.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Also write report.md, with its pictures in report_figures/.")
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Also write every table of the page to report_tables.tex (booktabs).")
    ] = False,
    json: Json = False,
) -> None:
    """Write a report of a store. It shows the runs, laws with their bands, optima, residuals, failures and provenance.

    Example: sweeplaw report results/demo

    Example: sweeplaw report results/demo --compare results/again
    """
    from sweeplaw.analysis.report.page import why_empty, write
    from sweeplaw.analysis.report.report import make, report_values
    from sweeplaw.analysis.tables.tables import unless_damaged

    folder, name = _place(source, out)

    def write_report(verify: bool) -> tuple[Report, Path, Path]:
        made = make(
            source, where=where, loss=y, x=pairs(x, "--x"), reported=reported, compare=compare, verify=verify,
            progress=progress,
        )  # fmt: skip
        if not made.sections:
            made = replace(made, running=tuple(_running(source)))
        return made, *write(made, folder, name)

    with _folder(folder), progress_bar("laws") as progress:
        made, html, data = unless_damaged(write_report)
    written = {"html": html, "json": data, **_other_formats(html, markdown, latex)}
    if json:
        emit_json({**{name: str(path) for name, path in written.items()}, **report_values(made)})
    else:
        typer.echo("\n".join(map(str, written.values())))
        print_notes([made.note] if made.note else [])
        if not made.sections:
            typer.echo(" ".join([f"{why_empty(made)}.", *made.running]))
        for section in made.sections:
            typer.echo(f"{section.family.name}: {_law(section)}")
            print_notes(section.family.notes)
    report_damage(made.faults)


def _place(source: str, out: Path | None) -> tuple[Path, str]:
    """Return the folder of the report, and the name of its files: beside a table that of the table before it.

    Raise InputError for what is not on this machine, without ``out``.
    """
    from sweeplaw.trials.errors import InputError

    if out is not None:
        return (out.parent, out.stem) if out.suffix == ".html" and not out.is_dir() else (out, "report")
    place = Path(source)
    if place.is_file():
        return place.parent, f"{place.stem}.report"
    if not place.is_dir():
        remote, neither = "is not on this machine, so the report needs --out FOLDER", "is neither a store nor a file"
        raise InputError(f"{source} {remote if '://' in source else neither}")
    return place, "report"


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make the folder first, since laws take long, and remove what of it is new if nothing was written."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for one in missing:
            with suppress(OSError):  # it is not empty
                one.rmdir()
        raise


def _other_formats(html: Path, markdown: bool, latex: bool) -> dict[str, Path]:
    """Write the page in these formats too, and return their files."""
    if not markdown and not latex:
        return {}
    from sweeplaw.analysis.report.other_formats import write_latex, write_markdown

    page = html.read_text(encoding="utf-8")
    found = {"markdown": write_markdown(page, html.parent)[-1]} if markdown else {}
    return {**found, "latex": write_latex(page, html.parent)} if latex else found


def _running(source: str) -> Iterator[str]:
    """Yield what runs and waits in a store, as sentences; nothing for a file."""
    if not Path(source).is_dir():
        return
    from sweeplaw.orchestrator.monitor.status import progress
    from sweeplaw.orchestrator.store.store import Store

    found = progress(Store.open(source))
    if found.running or found.claimed:
        waiting = max(0, found.claimed - found.running) + (found.waiting or 0)
        yield f"{counted(found.running, 'trial')} running now, {waiting:,} waiting."
    else:
        yield "No launch is running."
    if again := sum(found.relaunch.values()):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.relaunch.items())
        yield f"A relaunch would run {counted(again, 'trial')} ({reasons})."


def _law(section: Section) -> str:
    fit = section.surface.fit
    if fit is None:
        return section.surface.why_not
    params = ", ".join(f"{name} = {value:.4g}" for name, value in fit.params.items())
    return f"{fit.law.formula}: {params} ({fit.status})"
