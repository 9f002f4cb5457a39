"""`sweeplaw compare-searches`: searches replayed on a recorded table, by their regret against cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.pictures import check_picture
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.runs import Cell, Knobs, Let, Source, Where, Y, read_runs
from sweeplaw.trials.quantities import percent

if TYPE_CHECKING:
    import polars as pl

    from sweeplaw.orchestrator.search.rehearsal.comparison import SearchComparison


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare-searches")(compare_searches)


def compare_searches(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    y: Y = "val_loss",
    searches: Annotated[
        str, typer.Option(metavar="KINDS", help="Kinds of [search], separated by commas.")
    ] = "law,local,tpe,random",
    budget: Annotated[
        float, typer.Option(metavar="SHARE", help="Budget, relative to the FLOPs of all recorded settings.")
    ] = 0.05,
    seeds: Annotated[int, typer.Option(min=1, metavar="COUNT", help="Searches of each kind.")] = 20,
    cost: Annotated[
        str, typer.Option(metavar="EXPR", help="FLOPs of a run: a column, or a formula over columns.")
    ] = "6 * N * D",
    curve: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Losses of a run over time (a store has its own).")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, metavar="COUNT", help="Runs at a time.")] = 1,
    let: Let = None,
    where: Where = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw regret against cost (.svg, .png or .pdf).")
    ] = None,
    json: Json = False,
) -> None:
    """Replay searches on finished runs and report regret against cost.

    A run is looked up in the table instead of trained. Regret of a choice is its recorded loss over the lowest of its
    cell, minus 1: the mean over cells and seeds with the middle 80 % of seeds, and the cell with the largest mean.
    "recommended" is the regret of what a search recommends, which may differ from its best run. Where a search has run
    nothing, a cell gets the choice of the nearest one. Budgets are shares of the FLOPs of all settings. The last
    line is the regret below which differences are within the table's own noise. A knob that was tuned too but is not
    named by --knob is held at its best value in each cell.

    Example: sweeplaw compare-searches results/surrogate --knob lr --knob batch_tokens --searches law,tpe --seeds 2

    Example: sweeplaw compare-searches runs.csv --knob lr --knob bs --y loss --seeds 2 --out regret.svg
    """
    from sweeplaw.analysis.tables.files.output_file import write_file
    from sweeplaw.orchestrator.search.rehearsal.comparison import check_budget, compare
    from sweeplaw.orchestrator.search.rehearsal.contestants import contestants, pausing
    from sweeplaw.orchestrator.search.rehearsal.one_recipe import with_others_at_best
    from sweeplaw.orchestrator.search.rehearsal.recorded_space import recorded_space
    from sweeplaw.trials.quantities import counted
    from sweeplaw.trials.workloads.replay.recorded import RecordedColumns, RecordedTable

    check_picture(out)
    kinds, axes = names(searches), names(cell)
    runs = read_runs(source, [*axes, *knob, *([curve] if curve else [])], y, let, where, "")
    points = _points(source) if curve is None and "trial_id" in runs.frame.columns and pausing(kinds) else None
    meaning = RecordedColumns({name: name for name in (*axes, *knob)}, y, cost, curve)
    frame, left_out = with_others_at_best(runs.frame, axes, knob, y, runs.launches)
    table = RecordedTable.of(frame, meaning, points)
    space = recorded_space(table, axes, knob)
    check_budget(space, budget)
    entered = contestants(space, kinds)
    with progress_bar("searches") as progress:
        found = compare(space, entered, budget, seeds, slots=slots, progress=progress)
    dropped = [f"{counted(count, 'row')} left out: {reason}" for reason, count in table.dropped.items()]
    notes = [*runs.notes, *left_out, *dropped]
    if space.without_loss:
        notes.append(f"{counted(space.without_loss, 'cell')} left out: every run diverged")
    if out is not None:
        from sweeplaw.orchestrator.search.rehearsal.figure import regret_against_cost

        write_file(out, partial(regret_against_cost(found).savefig, format=out.suffix[1:].lower(), dpi=100))
    if json:
        emit_json({"source": source, "y": y, "seeds": seeds, **found.to_dict(), "notes": notes})
    else:
        _print(found, seeds)
        print_notes(notes)
    report_damage(runs.faults)


def _points(source: str) -> pl.DataFrame:
    """Return the curves of a store."""
    from sweeplaw.analysis.tables import tables

    return tables.load(source, states=None).curves.collect()


def _print(found: SearchComparison, seeds: int) -> None:
    typer.echo(f"{found.cells} cells, {found.settings:,} settings, {found.flops:.3g} FLOPs in all; {seeds} seeds")
    typer.echo(f"{'search':10s} {'cost':>7s} {'regret':>9s} {'80 % of seeds':>18s} {'worst cell':>12s}  recommended")
    for row in found.rows:
        band = f"{percent(row.low, '.3f')} to {percent(row.high, '.3f')}"
        typer.echo(
            f"{row.search:10s} {percent(row.share, '.3g'):>7} {percent(row.mean_regret, '.3f'):>9} {band:>18s} "
            f"{percent(row.worst_cell_regret, '.3f'):>12} {percent(row.recommended_regret, '.3f'):>12}   "
            f"{row.trials:.0f} runs, {row.seconds:.2g} s"
        )
    for line in _laws(found):
        typer.echo(line)
    typer.echo(found.noise.sentence())


def _laws(found: SearchComparison) -> Sequence[str]:
    """Return a line for the law of each knob through the settings of each search, and through the whole table."""
    lines: dict[tuple[str, str], list[str]] = {}
    for one in found.exponents:
        lines.setdefault(("whole table", one.knob), []).append(f"{one.axis}^{one.whole_table:z.2f}")
        lines.setdefault((one.search, one.knob), []).append(
            f"{one.axis}^{one.mean:z.2f} ({one.low:z.2f} to {one.high:z.2f})"
        )
    return [f"{search:12s} {knob} ~ {' '.join(dict.fromkeys(terms))}" for (search, knob), terms in lines.items()]
