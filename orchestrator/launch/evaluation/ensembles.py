"""Evaluate ensembles of finished trials in this process and record each subset as a trial of workload ``ensemble``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.facts import launch_facts, new_launch_id
from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import TRIAL, best_runs
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import commit, provenance
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.corpus import names as corpora
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import members
from sweeplaw.trials.kept.members import write
from sweeplaw.trials.record import TrialRecord
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.training.evaluation import subsets
from sweeplaw.trials.workloads.ensemble.specs import expanded

SWEEP = "ensembles"  # name of the sweep under which the rows are recorded


def evaluate(
    store: Store, models: Sequence[str], combine: str = "logits", *, nested: bool = False, threads: int = 1
) -> pl.DataFrame:
    """Return the rows of the ensembles of these models, smaller ones first; those not recorded yet are evaluated.

    ``models`` are ``TRIAL_ID[:MEMBER][@STEP]``; a trial of several members is all of them. Every subset is evaluated (a
    sample of more than ten models, `subsets.chosen`), or with ``nested`` the first 1, 2, … models. Raise InputError,
    StoreWriteError.
    """
    if not models:
        raise InputError("no trial was named (accepted: one or more)")
    names = expanded(store.location.uri, models)
    count = len(names)
    masks = [subsets.nested(size) for size in range(1, count + 1)] if nested else subsets.chosen(count)
    texts = [write([names[i] for i in subsets.indices(mask)]) for mask in masks]
    planned = plan(parse(_sweep(store, texts, combine)))
    found = _recorded(store, planned, threads)
    return found.sort(pl.col("subset").replace_strict(_order(texts), default=None))


def score(
    store: Store, models: Sequence[str], tasks: Sequence[str], combine: str = "logits", *, threads: int = 1
) -> pl.DataFrame:
    """Return the rows of these models in each task (`trials.tasks.names`): of every model alone and, of several, of
    their ensemble. Those not recorded yet are evaluated. Raise InputError, StoreWriteError.
    """
    names = expanded(store.location.uri, models)
    texts = [*(write([name]) for name in names), *([write(names)] if len(names) > 1 else [])]
    planned = plan(parse(_tasks_sweep(store, texts, tasks, combine)))
    return _recorded(store, planned, threads).sort("task", pl.col("subset").replace_strict(_order(texts), default=None))


def best_models(store: Store, sweep: str | None = None) -> list[list[str]]:
    """Return all seeds' trials of the best setting at each scientific point of a sweep. Raise InputError."""
    return [row[TRIAL].split(",") for row in best_runs(tables.load(store.location.uri), sweep)]


def check_task(task: str) -> None:
    """Check that a task, by the name that a user gives it, can be read here. Raise InputError."""
    from sweeplaw.trials.tasks import evaluation, names

    known = names.parse(names.canonical(task))
    evaluation.check(str(known))
    if known.kind == names.LOSS and (missing := corpora.absent(known.source)):
        raise InputError(f"task = {task!r}: {missing}")


def check_combination(combine: str) -> None:
    """Raise InputError if models cannot be combined so."""
    if combine not in subsets.COMBINATIONS:
        raise InputError(f"combine = {combine!r} (accepted: {', '.join(subsets.COMBINATIONS)})")


def _order(texts: Sequence[str]) -> dict[str, int]:
    return {text: i for i, text in enumerate(texts)}


def _recorded(store: Store, planned: Plan, threads: int) -> pl.DataFrame:
    """Return the rows of these trials; those without one are run."""
    planned.sweep.workload.check(list(planned.specs))
    finished = store.finished()
    missing = {trial for trial in planned.ids if finished.get(trial) != "completed"}
    if missing:
        texts = {str(spec["subset"]) for spec in planned.specs if spec.trial_id in missing}
        named = {name.kept: None for text in sorted(texts) for name in members.parse(text)}
        kept_weights.verify(store.location, named)
        _run(planned.only(missing), store, threads)
    found = tables.load(store.location.uri, states=None).trials.filter(pl.col("trial_id").is_in(list(planned.ids)))
    return found.collect()


def _tasks_sweep(store: Store, texts: Sequence[str], tasks: Sequence[str], combine: str) -> str:
    """Return the sweep file of these tasks."""
    return (
        f"name = 'evaluations'\nworkload = {{ kind = 'evaluation', store = {json.dumps(store.location.uri)} }}\n"
        f"[scientific]\ntask = {json.dumps(list(tasks))}\n"
        f"[nuisance]\nsubset = {json.dumps(list(texts))}\n[fixed]\ncombine = {json.dumps(combine)}\n"
    )


def _sweep(store: Store, texts: Sequence[str], combine: str) -> str:
    """Return the sweep file of these ensembles."""
    uri = store.location.uri
    return (
        f"name = {json.dumps(SWEEP)}\nworkload = {{ kind = 'ensemble', store = {json.dumps(uri)} }}\n"
        f"[scientific]\ncombine = [{json.dumps(combine)}]\n[nuisance]\nsubset = {json.dumps(list(texts))}\n"
    )


def _run(todo: Plan, store: Store, threads: int) -> None:
    """Evaluate these trials in one pack, so that each model predicts once, and record them."""
    specs = list(todo.specs)
    attempts, launch_id = store.attempts(), new_launch_id(store)
    job = Job(
        pack_id=f"{launch_id}-0",
        workload=todo.sweep.workload.name,
        options=todo.sweep.options,
        specs=tuple(spec.canonical() for spec in specs),
        attempts=tuple(attempts.get(spec.trial_id, 0) + 1 for spec in specs),
        sweep=todo.sweep.name,
        launch_id=launch_id,
    )
    store.add_launch(launch_id, launch_facts(todo, profile.load("inline")), todo.ids)
    with store.writer(launch_id) as writer, tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder:
        context = worker.make_context(job, device="cpu", folder=Path(folder), threads=threads)
        rows = worker.run(job, context, provenance("cpu", commit()))
        writer.write([row for row in rows if isinstance(row, TrialRecord)])
