"""The time of a trial on this machine, from a few training steps on random tokens, without its corpus."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sweeplaw.trials.corpus.shuffle import Shuffle
from sweeplaw.trials.corpus.streams import DataBudget, TokenStream
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.evaluation.ensemble import evaluate
from sweeplaw.trials.training.recipe import TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of

MEASURED_SECONDS = 0.5  # of steps; at least one is measured
MOST_STEPS = 1000


@dataclass(frozen=True, slots=True)
class StepTime:
    """``steps`` steps were measured, of ``step_seconds`` each; all steps and evaluations take ``trial_seconds``."""

    steps: int
    step_seconds: float
    trial_seconds: float


def measure(spec: TrialSpec, threads: int) -> StepTime:
    """Train and evaluate a model of this spec for about `MEASURED_SECONDS` on ``threads`` CPU threads.

    The members of an ensemble take turns on a CPU, so one of them is measured. The time to open the corpus is left out.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step_seconds, steps, token_seconds = _measured(spec)
    finally:
        torch.set_num_threads(before)
    member = recipe_of(spec).steps * step_seconds + spec["evaluations"] * spec["validation_tokens"] * token_seconds
    return StepTime(steps, step_seconds, spec["members"] * member)


def _measured(spec: TrialSpec) -> tuple[float, int, float]:
    """Return the seconds of a step, the steps measured, and the seconds of an evaluated token."""
    recipe = replace(recipe_of(spec), steps=MOST_STEPS)
    still: dict[str, Any] = {"lr": 0.0, "divergence_loss": math.inf, "schedule": Schedule("constant", MOST_STEPS)}
    member = replace(member_group(spec).members[0], **still)
    data = random_windows(recipe.shape.vocabulary, recipe.context, recipe.batch_sequences)
    stack = Stack([member], recipe, data, TrainingDevice("cpu"))
    windows = torch.from_numpy(data.read(np.arange(data.size)))
    stack.advance(1)  # allocates
    began = time.perf_counter()
    evaluate([stack], windows, 1)
    trained = time.perf_counter()
    for steps in range(1, MOST_STEPS):
        stack.advance(1 + steps)
        if (passed := time.perf_counter() - trained) > MEASURED_SECONDS:
            break
    return passed / steps, steps, (trained - began) / recipe.batch_tokens


def random_windows(vocabulary: int, context: int, windows: int) -> DataBudget:
    """Return a budget of random tokens."""
    tokens = np.random.default_rng(0).integers(vocabulary, size=windows * context + 1)
    return DataBudget(TokenStream.whole(tokens), context, windows, Shuffle(windows, "random windows"))
