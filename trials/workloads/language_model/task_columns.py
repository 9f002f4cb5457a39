"""Tasks that a sweep names beside the validation loss: `tasks = { arc = "choice:arc.jsonl" }` in `[workload]`.

Each trial that completes has their scores as columns, `arc_accuracy` and so on, of the ensemble of its members. They
are no part of its identity: a finished trial gets them from `sweeplaw evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.kept_weights import FOLDER, Kept
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.tasks import names
from sweeplaw.trials.workloads.language_model.resolve import validation_corpus

OF_HELD_OUT = str(names.Task(names.LOSS, names.HELD_OUT))
_LOSS = {"loss": ("val_loss", "nats/token", "loss")}
_CHOICE = {
    "accuracy": ("accuracy", "", "share of questions answered right"),
    "accuracy_normalized": ("accuracy_normalized", "", "the same by log-likelihood a character of a choice"),
    "accuracy_error": ("accuracy_error", "", "standard error of the accuracy"),
}
# By kind of task: the end of a column, the score it holds, its unit and meaning.
_COLUMNS: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    names.LOSS: _LOSS,
    names.CHOICE: {**_CHOICE, "loss": ("val_loss", "nats/token", "loss of the right choices")},
    names.LM_EVAL: {**_CHOICE, "score": ("score", "", "first metric that lm-eval reports")},
}


def read(tasks: Any, folder: Path | None, taken: set[str], faults: list[str]) -> dict[str, str]:
    """Return the tasks of a sweep by name, in canonical form; append to ``faults``. ``taken`` are names of columns."""
    if not isinstance(tasks, Mapping):
        faults.append(f'workload.tasks = {shown(tasks)} (accepted: a table such as {{ arc = "choice:arc.jsonl" }})')
        return {}
    found: dict[str, str] = {}
    for name, text in tasks.items():
        try:
            if not name.isidentifier() or not name.islower() or not isinstance(text, str):
                raise InputError("accepted are a name of lower-case letters, digits and _, and a task as text")
            found[name] = names.canonical(text, folder)
            if clash := sorted(taken & set(columns({name: found[name]}))):
                raise InputError(f"the table has a column {', '.join(clash)} already; choose another name")
        except InputError as error:
            faults += [f"workload.tasks.{name}: {fault}" for fault in error.faults]
    return found


def columns(tasks: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the columns of these tasks, with their unit and meaning."""
    return {
        f"{name}_{end}": (unit, f"{meaning}, task {text}")
        for name, text in tasks.items()
        for end, (_, unit, meaning) in _COLUMNS[names.parse(text).kind].items()
    }


def check(tasks: Mapping[str, str], models: Iterable[tuple[str, int, int]], store: str | None) -> list[str]:
    """Return why tasks cannot be read here by ``models``, each a tokenizer, a vocabulary and a context."""
    if not tasks:
        return []
    from sweeplaw.trials.tasks import evaluation  # imports torch, which a plan does not need

    faults: list[str] = []
    for name, text in tasks.items():
        if text == OF_HELD_OUT:
            continue
        try:
            evaluation.check(text)
            for tokenizer, vocabulary, context in models:
                evaluation.check_text(text, tokenizer, vocabulary, context, store)
        except InputError as error:
            faults += [f"workload.tasks.{name}: {fault}" for fault in error.faults]
    return list(dict.fromkeys(faults))


def scored(
    outcome: Outcome, spec: TrialSpec, tasks: Mapping[str, str], weights: str, device: str, store: str | None = None
) -> Outcome:
    """Return the outcome of a completed trial with its scores, from the weights in the folder ``weights``.

    ``store`` has the synthetic corpora that tasks name.

    Columns of a task that fails are null, and the message of the outcome says why.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in tasks.items():
        try:
            values |= dict(_scores(name, text, spec, weights, device, store))
        except InputError as error:
            faults.append(f"task {name}: {error}")
    message = "; ".join([*([outcome.message] if outcome.message else []), *faults]) or None
    return replace(outcome, message=message, metrics={**outcome.metrics, **values})


def _scores(
    name: str, text: str, spec: TrialSpec, weights: str, device: str, store: str | None
) -> Iterator[tuple[str, Any]]:
    from sweeplaw.trials.kept.members import MemberName
    from sweeplaw.trials.tasks.evaluation import evaluate

    count, tokens = spec["members"], spec["validation_tokens"]
    models = [MemberName(Kept(spec.trial_id), number if count > 1 else None) for number in range(count)]
    own = text == OF_HELD_OUT
    (found,) = evaluate(
        str(names.Task(names.LOSS, validation_corpus(spec.knobs))) if own else text,
        locate(weights.rstrip("/").removesuffix(f"/{FOLDER}")),
        models,
        [(1 << count) - 1],
        tokenizer=spec["tokenizer"],
        context=spec["context"],
        tokens=tokens,
        device=device,
        corpora=store,
        skip=tokens // spec["context"] * spec["context"] if own else 0,
    )
    for end, (score, _, _) in _COLUMNS[names.parse(text).kind].items():
        yield f"{name}_{end}", found.get(score)
