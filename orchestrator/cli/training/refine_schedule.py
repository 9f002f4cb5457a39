"""`sweeplaw refine-schedule`: a learning-rate schedule from the gradient norms of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import report_damage, write_sweep


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("refine-schedule")(refine_schedule)


def refine_schedule(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A completed trial, by its id or the start of it.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file (default: standard output).")] = None,
) -> None:
    """Write a sweep file that runs a trial again with the schedule that its gradient norms call for.

    The rate is high where gradients are small and falls to zero at the end (Defazio et al. 2023). It is more exact with
    more points of the curve (curve_points), and may be refined again from the run that follows.

    Example: sweeplaw refine-schedule results/mine 0c59c2f4f2f1a0e3a1b2 --out refined.toml
    """
    from sweeplaw.analysis.tables.tables import load
    from sweeplaw.orchestrator.monitor.trial_view import find
    from sweeplaw.orchestrator.plan.new_sweeps.refined_sweep import refined_sweep
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    text = refined_sweep(load(store), find(opened, trial))
    write_sweep(text, out)
    report_damage(opened.problems)
