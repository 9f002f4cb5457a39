"""`sweeplaw evaluate`: losses and task scores of trials whose weights are kept, and of their ensembles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared import exits
from sweeplaw.orchestrator.cli.shared.models import checked
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage

if TYPE_CHECKING:
    import polars as pl

_SCORES = ("accuracy", "accuracy_error", "accuracy_normalized", "score_name", "score", "questions")


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
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="loss:CORPUS, choice:FILE or lm-eval:TASK, instead of the validation loss."),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    json: Json = False,
) -> None:
    """Evaluate ensembles of finished trials whose weights STORE keeps (keep = "final" in their sweep).

    Every subset of the models becomes a row of workload `ensemble` in STORE, with its size (`members`), the loss of the
    ensemble (`val_loss`) and the mean loss of its models (`member_loss`); what is recorded already is not computed
    again. A trial of several members stands for all of them.

    With --task, every model alone and, of several, their ensemble become rows of workload `evaluation`: the loss on
    another corpus, multiple choice by likelihood on the questions of a file (JSON lines of context, choices and
    answer), or a task of lm-eval.

    Example: sweeplaw evaluate results/mine --trial 0c59c2f4f2f1a0e3a1b2 --trial 9b0d1e37c55aa6a4c1f0
    """
    from sweeplaw.orchestrator.launch.evaluation import machine
    from sweeplaw.orchestrator.launch.evaluation.ensembles import check_combination, check_task, score
    from sweeplaw.orchestrator.launch.evaluation.ensembles import evaluate as run
    from sweeplaw.orchestrator.launch.failures import failures, sentences
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    checks: dict[str, Callable[[], None]] = {f"--task {name}": partial(check_task, name) for name in task or ()}
    checks["threads"] = partial(machine.check, threads=threads)
    checks["combine"] = partial(check_combination, combine)
    models = checked(opened, trial, checks)
    if task:
        rows = score(opened, models, task, combine, threads=threads)
        _print_scores(rows, combine, json=json)
    else:
        rows = run(opened, models, combine, nested=nested, threads=threads)
        _print_losses(rows, combine, json=json)
    found_failures = failures(rows)
    for line in sentences(found_failures, opened.location.uri):
        typer.echo(line, err=True)
    report_damage(opened.problems)
    if found_failures:
        raise typer.Exit(exits.TRIALS_FAILED)


def _print_losses(found: pl.DataFrame, combine: str, *, json: bool) -> None:
    """Print the losses of ensembles, as JSON one by one, else by their size."""
    import polars as pl

    columns = ["trial_id", "state", "message", "subset", "members", "val_loss", "member_loss"]
    absent = [pl.lit(None, pl.Float64).alias(name) for name in columns if name not in found.columns]  # all have failed
    rows = found.with_columns(absent).select(columns)
    if json:
        emit_json({"combine": combine, "ensembles": rows.to_dicts()})
        return
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


def _print_scores(found: pl.DataFrame, combine: str, *, json: bool) -> None:
    """Print the row of each model and task, without the columns that are empty in all of them."""
    columns = ["task", "subset", "members", "state", "message", "val_loss", *_SCORES]
    rows = found.select(name for name in columns if name in found.columns and found[name].null_count() < found.height)
    if json:
        emit_json({"combine": combine, "evaluations": rows.insert_column(0, found["trial_id"]).to_dicts()})
    else:
        from sweeplaw.orchestrator.cli.shared.frames import print_table

        print_table(rows)
