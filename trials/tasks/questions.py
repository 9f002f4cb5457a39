"""Multiple-choice questions in a local file of JSON lines.

    {"context": "The capital of France is", "choices": ["Berlin", "Paris"], "answer": 1}

``answer`` is the number of the right choice, from 0 on. A choice follows its context after one space, unless the
context ends or the choice begins with white space.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.trials.errors import InputError, shown

_FORM = '{"context": TEXT, "choices": [TEXT, TEXT, ...], "answer": NUMBER of the right one, from 0}'
_NAMED = 5  # faulty lines


@dataclass(frozen=True, slots=True)
class Question:
    """``texts`` are what the model continues ``context`` with, one for each choice, with the space before it."""

    context: str
    texts: tuple[str, ...]
    answer: int


def read(path: str | Path) -> tuple[Question, ...]:
    """Return the questions of a file. Raise InputError with its faulty lines, or if it has no question."""
    if os.path.lexists(path) and not os.path.isfile(path):
        raise InputError(f"task = 'choice:{path}' is no regular file")
    try:
        with open(path, "rb") as file:
            return parse(file, str(path))
    except OSError as error:
        raise InputError(f"task = 'choice:{path}' cannot be read: {error.strerror or error}") from error


def parse(lines: Iterable[str | bytes], where: str) -> tuple[Question, ...]:
    """Return the questions of these lines, text or its UTF-8; empty ones are skipped. Raise InputError."""
    found: list[Question] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_question(json.loads(line.decode() if isinstance(line, bytes) else line)))
            except UnicodeDecodeError as error:
                faults.append(f"line {number}: byte {error.start + 1} is not UTF-8")
            except (ValueError, RecursionError) as error:
                faults.append(f"line {number}: {error}")
    more = [f"{len(faults) - _NAMED} more lines"] if len(faults) > _NAMED else []
    if faults or not found:
        raise InputError([*faults[:_NAMED], *more] or [f"no question (accepted: lines of {_FORM})"], where=where)
    return tuple(found)


def _question(content: Any) -> Question:
    """Return the question of a line. Raise ValueError."""
    if not isinstance(content, dict) or not {"context", "choices", "answer"} <= content.keys():
        raise ValueError(f"{shown(content)} (accepted: {_FORM})")
    context, choices, answer = content["context"], content["choices"], content["answer"]
    faults = []
    if not isinstance(context, str):
        faults.append(f"context = {shown(context)} (accepted: text)")
    texts = isinstance(choices, list) and all(isinstance(choice, str) and choice for choice in choices)
    if not texts or len(choices) < 2:
        faults.append(f"choices = {shown(choices)} (accepted: a list of two or more texts, none of them empty)")
    most = max(len(choices) if isinstance(choices, list) else 0, 2) - 1
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer <= most:
        faults.append(f"answer = {shown(answer)} (accepted: 0 to {most})")
    if faults:
        raise ValueError("; ".join(faults))
    return Question(context, tuple(_after(context, choice) for choice in choices), answer)


def _after(context: str, choice: str) -> str:
    spaced = not context or context[-1].isspace() or choice[0].isspace()
    return choice if spaced else " " + choice
