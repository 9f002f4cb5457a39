"""Multiple choice by likelihood: the choice that a model finds most probable, with or without length normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweeplaw.trials.tasks.likelihood import Continuation
from sweeplaw.trials.tasks.questions import Question


def scores(
    questions: Sequence[Question], texts: Sequence[Continuation], likelihoods: NDArray[np.float64]
) -> dict[str, float]:
    """Return the scores of one model by the log-likelihoods, in nats, of the ``texts`` of all choices, in their order.

    ``accuracy``: share of questions whose most probable choice is right. ``accuracy_normalized``: the same by log-
    likelihood a character of the choice, without the space before it. ``accuracy_error``: standard error of the first.
    ``val_loss``: of the right choices, in nats a token. ``questions``: their number.
    """
    right = normalized = 0
    nats, tokens, first = 0.0, 0, 0
    for question in questions:
        own = likelihoods[first : first + len(question.texts)]
        lengths = np.array([len(text.strip()) or 1 for text in question.texts])
        right += int(own.argmax() == question.answer)
        normalized += int((own / lengths).argmax() == question.answer)
        nats -= float(own[question.answer])
        tokens += len(texts[first + question.answer])
        first += len(question.texts)
    count = len(questions)
    share = right / count
    return {
        "accuracy": share,
        "accuracy_normalized": normalized / count,
        "accuracy_error": math.sqrt(share * (1 - share) / count),
        "val_loss": nats / tokens,
        "questions": count,
    }
