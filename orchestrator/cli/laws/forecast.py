"""`sweeplaw forecast register` and `sweeplaw forecast score`: say it before the run, and see how it turned out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.forecasts import (
    AllRows,
    At,
    Compute,
    FlopsPerNd,
    LawOfForecast,
    LossColumn,
    Rows,
    X,
    best_runs,
    points,
)
from sweeplaw.orchestrator.cli.shared.options import pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.runs import Source

if TYPE_CHECKING:
    from sweeplaw.analysis.forecasting.registered.record import RegisteredForecast


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Register a forecast before a run, and score it after.")
    group.command("register")(register_forecast)
    group.command("score")(score)
    app.add_typer(group, name="forecast")


def register_forecast(
    source: Source,
    at: At = None,
    compute: Compute = None,
    law: LawOfForecast = None,
    x: X = None,
    y: LossColumn = None,
    where: Rows = None,
    all_rows: AllRows = False,
    flops_per_nd: FlopsPerNd = 6.0,
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Who registers it (default: user@host).")] = None,
    assume: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A further assumption, in words (repeatable).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to FILE, which must not exist.")
    ] = None,
    json: Json = False,
) -> None:
    """Register the forecast of runs that have not ended: it is written once and never changes.

    It holds the 50, 80 and 95 % bands of the observed loss, the runs it was made from, by id and digest, what each
    assumption is worth, and how the same method did on the budgets known by now. A store keeps it among its files; of
    any other source, --out names the file. Note the digest to prove later that nothing was changed.

    Example: sweeplaw forecast register results/mine --at N=7e9,D=1.4e11 --who "Ada"
    """
    from sweeplaw.analysis.forecasting.forecaster import forecaster
    from sweeplaw.analysis.forecasting.registered.register import register_forecast as sealed
    from sweeplaw.analysis.tables.tables import read
    from sweeplaw.trials.errors import InputError
    from sweeplaw.trials.store_format.layout import is_store

    runs, budgets = points(at, compute)
    if out is None and not is_store(source):
        raise InputError(f"--out FILE is required: {source} is not a store")
    if out is not None and out.exists():
        raise InputError(f"{out} exists and will not be overwritten")
    read_runs = read(source)
    found = forecaster(read_runs, law, pairs(x, "--x", "x") or None, y, where=where, all_rows=all_rows)
    targets = [*runs, *best_runs(found, budgets, flops_per_nd)]
    with progress_bar("track record") as watch:
        forecast = sealed(
            found, targets, table=read_runs, source=source, where=where, who=who, assume=assume or (), watch=watch
        )
    place = _keep(forecast, source, out)
    if json:
        emit_json({"file": place, **forecast.to_dict()})
    else:
        typer.echo(f"{forecast.summary()}\nwritten to {place}")
    report_damage(read_runs.faults)


def score(
    source: Source,
    forecast: Annotated[
        list[Path] | None, typer.Argument(metavar="[FORECAST]...", help="Files of forecasts, beside those in a store.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=0.5, help="Relative distance in each input within which a run is that forecast.")
    ] = 0.02,
    where: Rows = None,
    json: Json = False,
) -> None:
    """Score the registered forecasts against the runs in SOURCE that have ended since.

    Of each run: the error, and whether the 50, 80 and 95 % bands held; over all of them, how often each band held.
    Forecasts that were changed after they were registered, and runs that had ended by then, are shown and not counted.

    Example: sweeplaw forecast score results/mine
    """
    from sweeplaw.analysis.forecasting.registered.files import CHANGED, read_files, registered
    from sweeplaw.analysis.forecasting.registered.record import track_record
    from sweeplaw.analysis.forecasting.registered.scoring import score_forecasts
    from sweeplaw.analysis.tables.tables import read
    from sweeplaw.trials.errors import InputError

    kept, faults = registered(source)
    forecasts = [*kept, *read_files(forecast or ())]
    if not forecasts:
        raise InputError([*faults, f"no forecast is registered in {source}, and no file of one is given"])
    runs = read(source, where=where)
    sheet = score_forecasts(runs, forecasts, tolerance)
    faults += [
        f"{path} {CHANGED}" for path, one in zip(forecast or (), forecasts[len(kept) :], strict=True) if not one.intact
    ]
    records = {one.name: [dict(cut) for cut in one.track_record] for one in forecasts}
    if json:
        emit_json({**sheet.to_dict(), "track_records": records})
    else:
        typer.echo(sheet.summary())
        for one in forecasts:
            typer.echo(f"{one.name} rests on {track_record(one)}")
    report_damage([*runs.faults, *faults])


def _keep(forecast: RegisteredForecast, source: str, out: Path | None) -> str:
    """Write the forecast to its file, which is new. Return its name."""
    from sweeplaw.analysis.forecasting.registered.files import text_of
    from sweeplaw.analysis.forecasting.registered.record import FOLDER
    from sweeplaw.orchestrator.store import atomic
    from sweeplaw.orchestrator.store.store import Store

    if out is not None:
        with out.open("x", encoding="utf-8") as file:
            file.write(text_of(forecast))
        return str(out)
    name = f"{FOLDER}/{forecast.name}.json"
    atomic.publish_json(Store.open(source).location, name, forecast.to_dict())
    return f"{source}/{name}"
