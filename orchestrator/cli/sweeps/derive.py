"""`sweeplaw derive`: a sweep file at the best settings of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import pairs
from sweeplaw.orchestrator.cli.shared.output import report_damage, write_sweep


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("derive")(derive)


def derive(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=FORMULA", help="Change a knob (repeatable).")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each setting.")] = 1,
    sweep: Annotated[str | None, typer.Option(metavar="NAME", help="The sweep, in a store of several.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the new sweep.")] = None,
    y: Annotated[str, typer.Option("--y", metavar="COLUMN", help="Metric to minimize.")] = "val_loss",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file (default: standard output).")] = None,
) -> None:
    """Write a sweep file with the best setting of each scientific point, and some knobs changed.

    Formulas read the knobs and columns of the best setting: members of an ensemble with twice the epochs and half the
    weight decay are --set "epochs=2 * epochs" --set "weight_decay=weight_decay / 2" --set members=5. Without --set and
    with --seeds 5, the best settings run again with five seeds. Students of these models read sampled, the text that
    sweeplaw sample drew from them (--set synthetic=sampled --set synthetic_weight=0.75), or trial_id (--set
    init_from=trial_id).

    Example: sweeplaw derive results/surrogate --set "tokens=2 * tokens" --seeds 3 --out next.toml
    """
    from sweeplaw.analysis.tables.tables import load
    from sweeplaw.orchestrator.plan.new_sweeps import derived_sweep

    tables = load(store)
    changes = pairs(change, "--set")
    text = derived_sweep.derive(tables, changes, name=name, sweep=sweep, seeds=seeds, loss=y, store=store)
    write_sweep(text, out)
    report_damage(tables.faults)
