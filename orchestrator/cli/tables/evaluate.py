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

_PLACE = ("params_non_embedding", "unique_tokens")
_SCORES = ("accuracy", "accuracy_error", "accuracy_normalized", "score_name", "score", "questions")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A model: TRIAL_ID[:MEMBER][@STEP] (repeatable).")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The best setting of each scientific point: an ensemble of all its seeds.")
    ] = False,
    sweep: Annotated[str | None, typer.Option(metavar="NAME", help="With --best: the sweep, of several.")] = None,
    combine: Annotated[str, typer.Option(help="logits or probabilities: what is averaged.")] = "logits",
    nested: Annotated[bool, typer.Option("--nested", help="Only the first 1, 2, … models, not every subset.")] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK",
            help="loss:CORPUS, choice:FILE or lm-eval:TASK, instead of the validation loss (repeatable).",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    json: Json = False,
) -> None:
    """Evaluate ensembles of finished trials whose weights STORE keeps (keep = "final" in their sweep).

    Every subset of the models becomes a row of workload `ensemble` in STORE, with its size (`members`), the loss of the
    ensemble (`val_loss`) and the mean loss of its models (`member_loss`); what is recorded already is not computed
    again. A trial of several members stands for all of them. With --best, the seeds of each scientific point are an
    ensemble, as members of one trial are, but trained one after another.

    With --task, every model alone and, of several, their ensemble become rows of workload `evaluation`: the loss on
    another corpus, multiple choice by likelihood on the questions of a file (JSON lines of context, choices and
    answer), or a task of lm-eval.

    Example: sweeplaw evaluate results/mine --trial 0c59c2f4f2f1a0e3a1b2 --trial 9b0d1e37c55aa6a4c1f0
    """
    import polars as pl

    from sweeplaw.orchestrator.launch.evaluation import machine
    from sweeplaw.orchestrator.launch.evaluation.ensembles import best_models, check_combination, check_task, score
    from sweeplaw.orchestrator.launch.evaluation.ensembles import evaluate as run
    from sweeplaw.orchestrator.launch.failures import failures, sentences
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.errors import InputError

    if bool(trial) == best:
        raise InputError("accepted: --trial ID, once for each model, or --best")
    opened = Store.open(store)
    checks: dict[str, Callable[[], None]] = {f"--task {name}": partial(check_task, name) for name in task or ()}
    checks["threads"] = partial(machine.check, threads=threads)
    checks["combine"] = partial(check_combination, combine)
    groups = best_models(opened, sweep) if best else [list(trial or ())]
    models = checked(opened, [name for group in groups for name in group], checks)
    whole = iter(models)
    found = []
    for point, group in enumerate(groups, start=1):
        named = [next(whole) for _ in group]
        own = (
            score(opened, named, task, combine, threads=threads)
            if task
            else run(opened, named, combine, nested=nested, threads=threads)
        )
        found.append(own.with_columns(point=pl.lit(point)))
    rows = pl.concat(found, how="diagonal_relaxed")
    (_print_scores if task else _print_losses)(rows, combine, json=json)
    found_failures = failures(rows)
    for line in sentences(found_failures, opened.location.uri):
        typer.echo(line, err=True)
    report_damage(opened.problems)
    if found_failures:
        raise typer.Exit(exits.TRIALS_FAILED)


def _print_losses(found: pl.DataFrame, combine: str, *, json: bool) -> None:
    """Print the losses of ensembles, as JSON one by one, else by their size, at each point where there are several."""
    import polars as pl

    columns = ["trial_id", "state", "message", "subset", "members", "val_loss", "member_loss"]
    absent = [pl.lit(None, pl.Float64).alias(name) for name in columns if name not in found.columns]  # all have failed
    rows = found.with_columns(absent).select(columns)
    if json:
        emit_json({"combine": combine, "ensembles": rows.to_dicts()})
        return
    from sweeplaw.orchestrator.cli.shared.frames import print_table

    places = ["point", *(name for name in _PLACE if name in found.columns)]
    several = places if found["point"].n_unique() > 1 else []
    completed = found.filter(pl.col("state") == "completed").with_columns(absent)
    sizes = completed.group_by(*several, "members", maintain_order=True)
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
