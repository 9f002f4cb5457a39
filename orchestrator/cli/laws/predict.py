"""`sweeplaw predict`: the loss of runs that do not exist yet, with bands, and how far they are beyond the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

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
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.runs import Source

if TYPE_CHECKING:
    from sweeplaw.analysis.forecasting.forecaster import Forecaster
    from sweeplaw.analysis.forecasting.prediction import Prediction
    from sweeplaw.analysis.forecasting.two_step import MetricForecast


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    source: Source,
    at: At = None,
    compute: Compute = None,
    law: LawOfForecast = None,
    x: X = None,
    y: LossColumn = None,
    where: Rows = None,
    all_rows: AllRows = False,
    flops_per_nd: FlopsPerNd = 6.0,
    metric: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Also forecast this metric of a task, by way of the loss.")
    ] = None,
    chance: Annotated[float, typer.Option(help="The metric at a very high loss.")] = 0.0,
    ceiling: Annotated[float, typer.Option(help="The metric at a very low loss.")] = 1.0,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the bands.")] = 0.95,
    json: Json = False,
) -> None:
    """Forecast the loss of larger runs from those in SOURCE. Give --at or --compute.

    Of each run: the loss, the band of its expected value, the band of one new run, and how far it is beyond the runs in
    SOURCE. The bands carry the error of the law's form: it is learnt from SOURCE and grows away from its runs. --x may
    name further inputs (unique tokens, batch size) on which the loss depends. --metric fits a sigmoid of a task's
    metric in the loss over the same runs, and its band carries the errors of both steps.

    Example: sweeplaw predict runs.csv --x N=params --x D=tokens --y loss --at N=7e9,D=1.4e11 --compute 1e22
    """
    from sweeplaw.analysis.forecasting.forecaster import forecaster
    from sweeplaw.analysis.tables.tables import read
    from sweeplaw.trials.errors import gathered

    runs, budgets = points(at, compute)
    loaded = read(source)
    found = forecaster(loaded, law, pairs(x, "--x", "x") or None, y, where=where, all_rows=all_rows)
    asked: list[Callable[[], dict[str, Any]]] = [
        *(partial(_answer, found, point, level) for point in runs),
        *(partial(_best, found, budget, flops_per_nd, level) for budget in budgets),
    ]
    answers = list(gathered(dict(enumerate(asked))).values())
    inputs = [answer["inputs"] for answer in answers]
    metrics = None if metric is None else _metrics(found, metric, inputs, chance, ceiling, level)
    if json:
        values = {} if metrics is None else {"metric": metrics.to_dict()}
        emit_json({**found.to_dict(), "level": level, "predictions": answers, **values})
    else:
        typer.echo("\n".join(found.headline()[:2]))
        for answer in answers:
            typer.echo(_line(answer, level))
        for line in () if metrics is None else metrics.headline()[: len(metrics.median) + len(metrics.verdicts())]:
            typer.echo(line)
        print_notes(found.warnings)
    report_damage(loaded.faults)


def _metrics(
    found: Forecaster, metric: str, at: list[dict[str, float]], chance: float, ceiling: float, level: float
) -> MetricForecast:
    from sweeplaw.analysis.forecasting.two_step import metric_forecast

    together = {name: [point[name] for point in at] for name in at[0]}
    return metric_forecast(found, metric, together, chance=chance, ceiling=ceiling, level=level)


def _answer(found: Forecaster, point: dict[str, float], level: float) -> dict[str, Any]:
    """Return the forecast at one point: its loss, both bands, and how far beyond the runs it is."""
    law, run = found.predict(point, level, of="law"), found.predict(point, level, of="run")
    return {
        "inputs": point, "loss": float(law.median[0]),
        "law": _ends(law), "run": _ends(run),
        "beyond": {name: float(factor[0]) for name, factor in law.beyond.items()},
        "beyond_in_words": law.beyond_in_words(0).removeprefix(", "),
    }  # fmt: skip


def _best(found: Forecaster, budget: float, flops_per_nd: float, level: float) -> dict[str, Any]:
    """Return the forecast of the best run of a budget."""
    (point,) = best_runs(found, [budget], flops_per_nd)
    return _answer(found, point, level) | {"compute": budget}


def _ends(prediction: Prediction) -> dict[str, float]:
    return {"low": float(prediction.low[0]), "high": float(prediction.high[0])}


def _line(answer: dict[str, Any], level: float) -> str:
    from sweeplaw.trials.quantities import percent, short

    point = ", ".join(f"{name} = {short(value)}" for name, value in answer["inputs"].items())
    budget = f"best run of {answer['compute']:.3g} FLOPs: " if "compute" in answer else ""
    law, run = ("[{low:.4f}, {high:.4f}]".format(**answer[kind]) for kind in ("law", "run"))
    where = answer["beyond_in_words"] or "inside the range of the runs"
    return (
        f"{budget}{point}: loss {answer['loss']:.4f}, {percent(level)} band of the expected loss {law}, "
        f"of one new run {run}, {where}"
    )
