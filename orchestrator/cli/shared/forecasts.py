"""The runs that a forecast is asked for, and the options that the commands on forecasts share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names, pairs

if TYPE_CHECKING:
    from sweeplaw.analysis.forecasting.forecaster import Forecaster

Many = list[str] | None
_BUDGET = ""  # in place of the name of an input

At = Annotated[Many, typer.Option("--at", metavar="N=..,D=..", help="Inputs of a run (repeatable).")]
Compute = Annotated[Many, typer.Option("--compute", metavar="FLOPS", help="The best run of this budget (repeatable).")]
LawOfForecast = Annotated[
    str | None, typer.Option("--law", metavar="LAW", help="Law or formula the forecast starts from (default: skaling).")
]
X = Annotated[Many, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of an input (repeatable).")]
LossColumn = Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")]
Rows = Annotated[str | None, typer.Option("--where", metavar="SQL", help="Use only the rows for which this holds.")]
AllRows = Annotated[bool, typer.Option("--all-rows", help="Use every row, not only the best setting of each point.")]
FlopsPerNd = Annotated[float, typer.Option(metavar="K", help="K of C = K N D, for --compute.")]


def points(at: Many, compute: Many) -> tuple[list[dict[str, float]], list[float]]:
    """Return the runs and the budgets asked for. Raise InputError if there are none, or some are no numbers."""
    from sweeplaw.trials.errors import InputError, gathered

    if not at and not compute:
        raise InputError("give the inputs of a run (--at N=7e9,D=1.4e11) or a budget (--compute 1e22)")
    given = [pairs(names(text), "--at") for text in at or ()]
    asked = {
        (k, name): partial(_number, text, f"--at {name}") for k, run in enumerate(given) for name, text in run.items()
    }
    asked |= {(k, _BUDGET): partial(_number, text, "--compute") for k, text in enumerate(compute or ())}
    found = gathered(asked)
    runs = [{name: found[k, name] for name in run} for k, run in enumerate(given)]
    return runs, [found[k, _BUDGET] for k in range(len(compute or ()))]


def best_runs(found: Forecaster, budgets: Sequence[float], flops_per_nd: float) -> list[dict[str, float]]:
    """Return the best run of each budget of compute. Raise InputError unless the inputs are N and D."""
    from sweeplaw.trials.errors import gathered

    each = {number: partial(found.best, budget, flops_per_nd) for number, budget in enumerate(budgets)}
    best = gathered(each).values()
    return [{name: float(column[0]) for name, column in one.inputs.items()} for one in best]


def _number(text: str, option: str) -> float:
    from sweeplaw.trials import quantities
    from sweeplaw.trials.errors import InputError

    try:
        return quantities.number(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
