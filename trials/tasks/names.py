"""Names of tasks: ``loss:CORPUS``, ``loss:held-out``, ``choice:FILE``, ``lm-eval:TASK`` and ``lm-eval:FILE.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeplaw.trials.corpus import names as corpora
from sweeplaw.trials.errors import InputError, nearest

LOSS, CHOICE, LM_EVAL = "loss", "choice", "lm-eval"
KINDS = (LOSS, CHOICE, LM_EVAL)
HELD_OUT = "held-out"  # source of a loss: what a trial's validation text holds beyond that of its validation loss


@dataclass(frozen=True, slots=True)
class Task:
    """A parsed name: what is measured, and the corpus, the file or the task that it is measured on."""

    kind: str
    source: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.source}"


def parse(text: str) -> Task:
    """Parse the name of a task. Raise InputError."""
    kind, _, source = text.partition(":")
    if kind not in KINDS or not source:
        accepted = "loss:CORPUS, choice:FILE.jsonl, lm-eval:TASK"
        raise InputError(f"task = {text!r} is not known (accepted: {accepted}){nearest(kind, KINDS)}")
    return Task(kind, source)


def canonical(text: str, folder: Path | None = None) -> str:
    """Return the canonical name: paths are absolute, relative ones start at ``folder`` or the working directory.

    Raise InputError.
    """
    task = parse(text)
    if task == Task(LOSS, HELD_OUT):
        return text
    if task.kind == LOSS:
        return f"{LOSS}:{corpora.canonical(task.source, folder)}"
    if task.kind == CHOICE or task.source.endswith(".yaml"):
        return f"{task.kind}:{Path(folder or '.', task.source).expanduser().absolute()}"
    return text
