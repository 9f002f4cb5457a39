"""`sweeplaw evaluate`: losses of ensembles of trials whose weights are kept."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.models import complete
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[
        list[str], typer.Option(metavar="ID", help="A model: TRIAL_ID[:MEMBER][@STEP]. Give it once for each.")
    ],
    combine: Annotated[str, typer.Option(help="logits or probabilities: what is averaged.")] = "logits",
    nested: Annotated[bool, typer.Option("--nested", help="Only the first 1, 2, … models, not every subset.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    json: Json = False,
) -> None:
    """Evaluate ensembles of finished trials whose weights STORE keeps (keep = "final" in their sweep).

    Every subset of the models becomes a row of workload `ensemble` in STORE, with its size (`members`), the loss of the
    ensemble (`val_loss`) and the mean loss of its models (`member_loss`); what is recorded already is not computed
    again. A trial of several members stands for all of them.

    Example: sweeplaw evaluate results/mine --trial 0c59c2f4f2f1a0e3a1b2 --trial 9b0d1e37c55aa6a4c1f0
    """
    import polars as pl

    from sweeplaw.orchestrator.launch.evaluation.ensembles import evaluate as run
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    models = [complete(opened, name) for name in trial]
    found = run(opened, models, combine, nested=nested, threads=threads)
    columns = ["trial_id", "state", "message", "subset", "members", "val_loss", "member_loss"]
    rows = found.select(name for name in columns if name in found.columns)
    if json:
        emit_json({"combine": combine, "ensembles": rows.to_dicts()})
    else:
        from sweeplaw.orchestrator.cli.shared.frames import print_table

        sizes = rows.filter(pl.col("state") == "completed").group_by("members", maintain_order=True)
        print_table(
            sizes.agg(
                pl.len().alias("subsets"),
                pl.col("val_loss").mean().alias("mean_loss"),
                pl.col("val_loss").first().alias("nested_loss"),
                pl.col("member_loss").mean(),
            )
        )
    report_damage(opened.problems)
