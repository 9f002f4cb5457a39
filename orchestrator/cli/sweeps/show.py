"""`sweeplaw show`: one trial with its spec, attempts, curve and the end of its log."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.frames import aligned
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.monitor.printed import readable
from sweeplaw.trials.quantities import counted, plain

if TYPE_CHECKING:
    import polars as pl

    from sweeplaw.orchestrator.monitor.trial_view import AttemptLog, TrialView

TAIL_LINES = 20
POINTS = 5  # last points of the curve
WIDTH = 60  # characters of a curve
_BARS = "▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show")(show)


def show(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The id of a trial, or its beginning.")],
    sweep: Annotated[bool, typer.Option("--sweep", help="Print a sweep file whose only trial is this one.")] = False,
    json: Json = False,
) -> None:
    """Show one trial: why it was proposed, its knobs, attempts, curve, the end of its log, and how to run it alone.

    Example: sweeplaw show results/surrogate 004c
    """
    from sweeplaw.orchestrator.monitor import trial_view
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    found = trial_view.view(opened, trial_view.find(opened, trial))
    if sweep:
        typer.echo(trial_view.alone(found), nl=False)
        report_damage(opened.problems)
        return
    logs = trial_view.logs(opened, found.trial_id, found.attempts)
    if json:
        emit_json(_values(found, logs))
    else:
        parts = _outcome(found), _curve(found.curve), _log(logs, store, found), _alone(store, found)
        typer.echo("\n".join(line for part in parts for line in part))
    report_damage(opened.problems)


def _values(found: TrialView, logs: list[AttemptLog]) -> dict[str, Any]:
    return {
        "trial_id": found.trial_id,
        "row": dict(found.row),
        "knobs": dict(found.knobs),
        "proposed": found.proposed or None,
        "attempts": found.attempts.to_dicts(),
        "curve": found.curve.to_dicts(),
        "log": logs[-1].output.decode(errors="replace") if logs else None,
    }


def _outcome(found: TrialView) -> Iterator[str]:
    row = found.row
    yield f"trial {found.trial_id}: {row.get('state', 'no outcome yet')}"
    if "exclusion_reason" in row:
        yield f"excluded from the data: {row['exclusion_reason']}"
    if found.launch:
        yield f"sweep {found.launch.get('sweep')}, workload {found.launch.get('workload')}"
    if found.proposed:
        yield found.proposed
    if "host" in row:
        seconds = f" for {row['train_seconds']:.3g} s" if "train_seconds" in row else ""
        yield f"on {row['host']} ({row.get('device', 'unknown device')}){seconds}"
    for line in str(row.get("message", "")).splitlines():
        yield f"  {line}"
    yield from (f"  {name} = {plain(value)}" for name, value in found.knobs.items())
    if found.attempts.height > 1:
        yield "attempts:"
        yield aligned(found.attempts.select("attempt", "state", "launch_id", "host", "message"), None).rstrip()


def _curve(curve: pl.DataFrame) -> Iterator[str]:
    if not curve.height:
        return
    steps = curve["step"].to_list()
    yield f"curve: {counted(curve.height, 'point')}, steps {min(steps):,} to {max(steps):,}"
    for name in ("val_loss", "train_loss"):
        if name in curve.columns and (values := curve[name].drop_nulls().to_list()):
            yield f"  {name:<10} {sparkline(values)} {values[0]:.6g} to {values[-1]:.6g}"
    yield aligned(curve.drop("trial_id").tail(POINTS), None).rstrip()


def sparkline(values: list[float]) -> str:
    """Return the values as at most `WIDTH` bars, each the last of its share; what is not finite is a cross."""
    bars = min(WIDTH, len(values))
    shares = [values[(index + 1) * len(values) // bars - 1] for index in range(bars)]
    finite = [value for value in shares if abs(value) < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[int((value - low) * scale)] if abs(value) < float("inf") else "x" for value in shares)


def _log(logs: list[AttemptLog], store: str, found: TrialView) -> Iterator[str]:
    if not logs:
        yield "log: it printed nothing, or its launch kept no logs"
        return
    lines = readable(logs[-1].output).splitlines()
    together = f", printed by {logs[-1].together} trials that trained together" if logs[-1].together > 1 else ""
    yield f"log of attempt {logs[-1].attempt}{together}:"
    if len(lines) > TAIL_LINES:
        before = counted(len(lines) - TAIL_LINES, "line")
        yield f"  ({before} before; all: sweeplaw logs {shlex.quote(store)} {found.trial_id})"
    yield from (f"  {line}" for line in lines[-TAIL_LINES:])


def _alone(store: str, found: TrialView) -> Iterator[str]:
    if found.knobs:
        yield "to run it alone, in the folder of its sweep file:"
        yield f"  sweeplaw show {shlex.quote(store)} {found.trial_id} --sweep > alone.toml"
        yield "  sweeplaw launch alone.toml --store /tmp/alone --cluster inline"
