"""Smaller micro-batches need less memory and train the same trial; memory that runs out gets one more, smaller try."""

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
from sweeplaw.trials.training.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Member, Recipe, Stack, TrainingDevice
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.language_model import LanguageModel

MARKOV = "markov:states=12,spread=1.5,tokens=65536"
STEPS = 20
RECIPE = Recipe(Shape(2, 16, 2, 40, 12), 16, 8, STEPS, 0.9, 0.95, 1e-8, 1e4, "float32")
MEMBER = Member(0, 1e-2, 0.1, 0.5, Schedule("cosine", STEPS, 0.1), 20.0)
WORKLOAD = LanguageModel.of("", {})


@pytest.fixture(scope="module")
def budget() -> DataBudget:
    return open_corpus(MARKOV, "none").budget(16, 16 * 200)


def spec(**values: Any) -> TrialSpec:
    small = {"corpus": MARKOV, "context": 16, "unique_tokens": 2048, "width": 16, "validation_tokens": 1024}
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**small, **values}))


@pytest.mark.parametrize("shrink", [2, 3, 8, 100])
def test_the_size_of_the_micro_batch_changes_no_loss_norm_or_weight(budget: DataBudget, shrink: int) -> None:
    """Three parts of eight sequences are 3, 3 and 2: each sequence counts the same, so the parts do not."""
    members = [MEMBER, replace(MEMBER, seed=1, grad_clip=0.0)]
    whole, parts = (Stack(members, RECIPE, budget, TrainingDevice("cpu", shrink=count)) for count in (1, shrink))
    for expected, found in zip(whole.advance(STEPS), parts.advance(STEPS), strict=True):
        # The sums are the same in another order: float32 rounds differently, and Adam carries it on.
        assert found == pytest.approx(expected, rel=1e-3)
    assert torch.allclose(whole.model.weights.flat, parts.model.weights.flat, atol=1e-3)


@pytest.mark.parametrize(("sequences", "shrink", "sizes"), [(8, 1, [8]), (8, 3, [3, 3, 2]), (2, 5, [1, 1])])
def test_micro_batches_cover_a_batch_and_weigh_what_they_hold(sequences: int, shrink: int, sizes: list[int]) -> None:
    shares = TrainingDevice("cpu", shrink=shrink).shares(sequences)
    assert [rows.stop - rows.start for rows, _ in shares] == sizes
    assert np.concatenate([np.arange(sequences)[rows] for rows, _ in shares]).tolist() == list(range(sequences))
    assert [weight for _, weight in shares] == [size / sequences for size in sizes]


def test_a_pack_in_micro_batches_tells_the_same_curve(tmp_path: Path) -> None:
    trial = spec(batch_sequences=8)
    whole, parts = (list(WORKLOAD.run([trial], Context("cpu", tmp_path, shrink=shrink))) for shrink in (1, 3))
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
    """Plant a device that holds so many sequences of a micro-batch; from step ``late`` on, before it holds all."""

    def plant(sequences: int, error: BaseException = OUT_OF_MEMORY[0], late: int = 0) -> list[int]:
        tried: list[int] = []
        real = Stack._train_step

        def step(stack: Stack) -> Any:
            micro = max(rows.stop - rows.start for rows, _ in stack.shares)
            tried.append(micro)
            if stack.step >= late and micro > sequences:
                raise error
            return real(stack)

        monkeypatch.setattr(Stack, "_train_step", step)
        return tried

    return plant


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_is_tried_once_more_in_smaller_micro_batches(
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


def test_a_trial_too_large_for_the_smaller_micro_batch_too_is_out_of_memory_and_the_next_one_runs(
    tmp_path: Path, memory_for: Callable[..., list[int]]
) -> None:
    tried = memory_for(1)
    pack = [spec(batch_sequences=8), spec(batch_sequences=1, unique_tokens=64)]
    outcomes = [event for event in WORKLOAD.run(pack, Context("cpu", tmp_path)) if isinstance(event, Outcome)]
    assert [event.state for event in outcomes] == ["out_of_memory", "completed"]
    assert outcomes[0].message == "CUDA out of memory"
    assert tried[:2] == [8, 2]


def test_a_micro_batch_of_one_sequence_cannot_shrink(tmp_path: Path, memory_for: Callable[..., list[int]]) -> None:
    tried = memory_for(0)
    (outcome,) = WORKLOAD.run([spec(batch_sequences=1, unique_tokens=64)], Context("cpu", tmp_path))
    assert isinstance(outcome, Outcome)
    assert (outcome.state, tried) == ("out_of_memory", [1])


def test_memory_that_runs_out_on_the_way_leaves_no_row_of_the_curve_twice(
    tmp_path: Path, memory_for: Callable[..., list[int]]
) -> None:
    trial = spec(batch_sequences=8)
    expected = [
        event.step for event in WORKLOAD.run([trial], Context("cpu", tmp_path)) if isinstance(event, CurvePoint)
    ]
    memory_for(2, late=9)
    events = list(WORKLOAD.run([trial], Context("cpu", tmp_path)))
    assert [event.step for event in events if isinstance(event, CurvePoint)] == expected
    assert events[-1].state == "completed"


def test_a_batch_of_fewer_sequences_than_processes_is_refused_with_what_would_be_accepted() -> None:
    from sweeplaw.trials.training.distributed import ProcessGroup

    with pytest.raises(InputError, match=r"batch_sequences = 3 cannot be split over 4 processes .*at most 3"):
        TrainingDevice("cpu", ProcessGroup(0, 4)).shares(3)


def test_uneven_shares_of_processes_cover_the_batch_with_equally_many_micro_batches() -> None:
    from sweeplaw.trials.training.distributed import ProcessGroup

    every = [TrainingDevice("cpu", ProcessGroup(rank, 3), shrink=2).shares(8) for rank in range(3)]
    assert {len(shares) for shares in every} == {2}
    covered: Iterator[int] = (row for shares in every for rows, _ in shares for row in range(rows.start, rows.stop))
    assert list(covered) == list(range(8))
    assert sum(weight for shares in every for _, weight in shares) == pytest.approx(1.0)
