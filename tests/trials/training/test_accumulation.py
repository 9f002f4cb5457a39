"""Smaller micro-batches train the same trial in less memory; a trial out of memory is retried once in smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.language_model import LanguageModel

MARKOV = "markov:states=12,spread=1.5,tokens=65536"
STEPS = 20
RECIPE = Recipe(Shape(2, 16, 2, 40, 12), 16, 8, STEPS, 1e4, "float32")
MEMBER = Member(0, 1e-2, 0.1, Schedule("cosine", STEPS, 0.1), 20.0, Coefficients(grad_clip=0.5))
WORKLOAD = LanguageModel.of("", {})


@pytest.fixture(scope="module")
def budget() -> DataBudget:
    return open_corpus(MARKOV, "none").budget(16, 16 * 200)


def spec(**values: Any) -> TrialSpec:
    small = {"corpus": MARKOV, "context": 16, "unique_tokens": 2048, "width": 16, "validation_tokens": 1024}
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**small, **values}))


def weights(stack: Stack) -> torch.Tensor:
    """Return all weights of the stack, (members, parameters)."""
    assert isinstance(stack.model.weights, UnshardedWeights)
    return stack.model.weights.flat


@pytest.mark.parametrize("divisor", [2, 3, 8, 100])
@pytest.mark.heavy
def test_losses_norms_and_weights_do_not_depend_on_the_micro_batch_size(budget: DataBudget, divisor: int) -> None:
    """Three parts of eight sequences have 3, 3 and 2: sequences have equal weights, so the parts do not."""
    members = [MEMBER, replace(MEMBER, seed=1, coefficients=Coefficients(grad_clip=0.0))]
    whole, parts = (
        Stack(members, RECIPE, budget, TrainingDevice("cpu", micro_batch_divisor=count)) for count in (1, divisor)
    )
    for expected, found in zip(whole.advance(STEPS), parts.advance(STEPS), strict=True):
        # The same sums in another order: float32 rounds differently, and Adam propagates it.
        assert found == pytest.approx(expected, rel=1e-3)
    assert torch.allclose(weights(whole), weights(parts), atol=1e-3)


@pytest.mark.parametrize(("sequences", "divisor", "sizes"), [(8, 1, [8]), (8, 3, [3, 3, 2]), (2, 5, [1, 1])])
def test_micro_batches_cover_a_batch_and_are_weighted_by_their_size(
    sequences: int, divisor: int, sizes: list[int]
) -> None:
    micro_batches = TrainingDevice("cpu", micro_batch_divisor=divisor).micro_batches(sequences)
    assert [rows.stop - rows.start for rows, _ in micro_batches] == sizes
    assert np.concatenate([np.arange(sequences)[rows] for rows, _ in micro_batches]).tolist() == list(range(sequences))
    assert [weight for _, weight in micro_batches] == [size / sequences for size in sizes]


@pytest.mark.heavy
def test_a_pack_in_micro_batches_has_the_same_curve(tmp_path: Path) -> None:
    trial = spec(batch_sequences=8)
    whole, parts = (
        list(WORKLOAD.run([trial], Context("cpu", tmp_path, micro_batch_divisor=divisor))) for divisor in (1, 3)
    )
    for expected, found in zip(whole[:-1], parts[:-1], strict=True):
        assert isinstance(expected, CurvePoint)
        assert isinstance(found, CurvePoint)
        assert (found.step, found.tokens) == (expected.step, expected.tokens)
        assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
    assert parts[-1].metrics["val_loss"] == pytest.approx(whole[-1].metrics["val_loss"], rel=1e-4)
    assert (whole[-1].metrics.get("micro_batches"), parts[-1].metrics["micro_batches"]) == (None, 3)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
]


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Simulate a device that fits ``sequences`` of a micro-batch, or any number before step ``late``.

    It appends the size of each micro-batch to the list it returns.
    """

    def plant(sequences: int, error: BaseException = OUT_OF_MEMORY[0], late: int = 0) -> list[int]:
        tried: list[int] = []
        real = Stack._train_step

        def step(stack: Stack) -> Any:
            micro = max(rows.stop - rows.start for rows, _ in stack.micro_batches)
            tried.append(micro)
            if stack.step >= late and micro > sequences:
                raise error
            return real(stack)

        monkeypatch.setattr(Stack, "_train_step", step)
        return tried

    return plant


@pytest.mark.heavy
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_trial_out_of_memory_is_retried_once_in_smaller_micro_batches(
    tmp_path: Path, memory_for: Callable[..., list[int]], error: BaseException
) -> None:
    trial = spec(batch_sequences=8)
    *_, alone = WORKLOAD.run([trial], Context("cpu", tmp_path))
    tried = memory_for(2, error)
    *_, outcome = WORKLOAD.run([trial], Context("cpu", tmp_path))
    assert isinstance(outcome, Outcome)
    assert outcome.state == "completed"
    assert outcome.metrics["val_loss"] == pytest.approx(alone.metrics["val_loss"], rel=1e-4)
    assert outcome.metrics["micro_batches"] == 4
    assert tried[:2] == [8, 2]
    assert set(tried[2:]) == {2}


@pytest.mark.heavy
def test_a_trial_too_large_for_the_smaller_micro_batch_is_out_of_memory_and_the_next_trial_runs(
    tmp_path: Path, memory_for: Callable[..., list[int]]
) -> None:
    tried = memory_for(1)
    pack = [spec(batch_sequences=8), spec(batch_sequences=1, unique_tokens=64)]
    outcomes = [event for event in WORKLOAD.run(pack, Context("cpu", tmp_path)) if isinstance(event, Outcome)]
    assert [event.state for event in outcomes] == ["out_of_memory", "completed"]
    assert outcomes[0].message == "CUDA out of memory"
    assert tried[:2] == [8, 2]


def test_a_micro_batch_of_one_sequence_is_not_retried(tmp_path: Path, memory_for: Callable[..., list[int]]) -> None:
    tried = memory_for(0)
    (outcome,) = WORKLOAD.run([spec(batch_sequences=1, unique_tokens=64)], Context("cpu", tmp_path))
    assert isinstance(outcome, Outcome)
    assert (outcome.state, tried) == ("out_of_memory", [1])


@pytest.mark.heavy
def test_a_retry_after_some_steps_repeats_no_point_of_the_curve(
    tmp_path: Path, memory_for: Callable[..., list[int]]
) -> None:
    trial = spec(batch_sequences=8)
    expected = [
        event.step for event in WORKLOAD.run([trial], Context("cpu", tmp_path)) if isinstance(event, CurvePoint)
    ]
    memory_for(2, late=9)
    events = list(WORKLOAD.run([trial], Context("cpu", tmp_path)))
    assert [event.step for event in events if isinstance(event, CurvePoint)] == expected
    assert isinstance(events[-1], Outcome)
    assert events[-1].state == "completed"


def test_a_batch_is_computed_at_once_unless_micro_batches_are_asked_for() -> None:
    assert TrainingDevice("cpu").micro_batches(8) == [(slice(0, 8), 1.0)]
    assert TrainingDevice("cpu", micro_batch_divisor=3).micro_batches(8) == [
        (slice(0, 3), 3 / 8),
        (slice(3, 6), 3 / 8),
        (slice(6, 8), 2 / 8),
    ]


def test_a_batch_of_fewer_sequences_than_processes_is_refused_with_the_accepted_values() -> None:
    from sweeplaw.trials.training.distributed import ProcessGroup

    with pytest.raises(InputError, match=r"batch_sequences = 3 cannot be split over 4 processes .*at most 3"):
        TrainingDevice("cpu", ProcessGroup(0, 4)).micro_batches(3)


def test_uneven_shares_of_processes_cover_the_batch_with_the_same_number_of_micro_batches() -> None:
    from sweeplaw.trials.training.distributed import ProcessGroup

    every = [TrainingDevice("cpu", ProcessGroup(rank, 3), micro_batch_divisor=2).micro_batches(8) for rank in range(3)]
    assert {len(shares) for shares in every} == {2}
    covered: Iterator[int] = (row for shares in every for rows, _ in shares for row in range(rows.start, rows.stop))
    assert list(covered) == list(range(8))
    assert sum(weight for shares in every for _, weight in shares) == pytest.approx(1.0)
