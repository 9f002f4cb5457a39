"""Evaluate a task with several models and ensembles of them, from their kept weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeplaw.trials.corpus.names import canonical_tokenizer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import ensembles
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.sampling.corpora import open_text
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.tasks import multiple_choice, names, questions
from sweeplaw.trials.tasks.likelihood import continuations, log_likelihoods
from sweeplaw.trials.training.evaluation.subsets import indices


def evaluate(
    task: str,
    location: Location,
    models: Sequence[MemberName],
    subsets: Sequence[int],
    *,
    tokenizer: str,
    context: int,
    tokens: int,
    combine: str = "logits",
    device: str = "cpu",
    skip: int = 0,
    corpora: str | None = None,
) -> list[dict[str, Any]]:
    """Return the scores of each subset of the models, a bit mask over them, in a task (`tasks.names`).

    ``tokenizer`` and ``context`` are those of the models, ``tokens`` those of a corpus that are read at most, from
    what it holds out behind the first ``skip``. The loss on it is ``val_loss`` in nats a token; other tasks
    have the `multiple_choice.scores` or the `harness.scores`. ``corpora`` is the store of synthetic corpora, by default
    that of the models. Raise InputError.
    """
    parsed = names.parse(task)
    if parsed.kind == names.LOSS:
        check(task)
        corpus = open_text(parsed.source, tokenizer, corpora or location.uri)
        there = max(1, corpus.validation.windows(context)) * context
        held_out = corpus.held_out(context, min(skip + tokens, there))
        windows = torch.from_numpy(held_out.read(np.arange(skip // context, held_out.size)))
        losses = ensembles.evaluate(location, models, windows, subsets, combine, device)
        return [{"val_loss": loss} for loss in losses]
    if parsed.kind == names.CHOICE:
        asked = questions.read(parsed.source)
        texts = continuations([(one.context, text) for one in asked for text in one.texts], tokenizer, context)
        with ensembles.opened_models(location, models, device) as opened:
            found = log_likelihoods(
                opened.logits, texts, subsets, combine, models=len(models), vocabulary=opened.vocabulary, device=device
            )
        return [multiple_choice.scores(asked, texts, row) for row in found.numpy()]
    return _by_harness(parsed.source, location, models, subsets, tokenizer, context, combine, device)


def check(task: str) -> None:
    """Check that a task can be read here. Raise InputError."""
    parsed = names.parse(task)
    if parsed == names.Task(names.LOSS, names.HELD_OUT):
        raise InputError(f"task = {task!r} (accepted: in [workload] of a sweep, or loss:CORPUS)")
    if parsed.kind == names.CHOICE:
        questions.read(parsed.source)
    elif parsed.kind == names.LM_EVAL:
        _require_harness(task)
        if parsed.source.endswith(".yaml") and not Path(parsed.source).is_file():
            raise InputError(f"task = {task!r}: no such file")


def check_text(task: str, tokenizer: str, vocabulary: int, context: int, store: str | None) -> None:
    """Check that models of this tokenizer, vocabulary and context can read the text of a loss, if the task is one.

    Raise InputError for other tokens, or a text that holds out less than a window.
    """
    parsed = names.parse(task)
    if parsed.kind != names.LOSS:
        return
    own = canonical_tokenizer(parsed.source, tokenizer)
    corpus = open_text(parsed.source, tokenizer, store)
    if (own, corpus.vocabulary) != (tokenizer, vocabulary):
        seen, known = (f"tokenizer = {of!r} and a vocabulary of {size}" for of, size in
                       ((own, corpus.vocabulary), (tokenizer, vocabulary)))  # fmt: skip
        raise InputError(f"task = {task!r} has {seen}, the models {known} (accepted: the same)")
    corpus.held_out(context, context, f"task = {task!r}")


def _require_harness(task: str) -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise InputError(f"task = {task!r} needs the package lm-eval (pip install 'sweeplaw[lm-eval]')") from error


def _by_harness(
    source: str,
    location: Location,
    models: Sequence[MemberName],
    subsets: Sequence[int],
    tokenizer: str,
    context: int,
    combine: str,
    device: str,
) -> list[dict[str, Any]]:
    """Return what lm-eval finds for each subset. Raise InputError."""
    _require_harness(f"{names.LM_EVAL}:{source}")
    if combine != "logits":
        raise InputError(f"combine = {combine!r} with lm-eval (accepted: logits)")
    from sweeplaw.trials.tasks import harness

    with ensembles.opened_models(location, models, device) as opened:
        loaded = [opened.model(i) for i in range(len(models))]
        return [harness.scores(source, [loaded[i] for i in indices(one)], tokenizer, context) for one in subsets]
