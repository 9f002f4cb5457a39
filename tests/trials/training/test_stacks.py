"""Trials of one stack: one that diverges changes nothing in the others, and each ends at its own length."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile.profile import parse as parse_profile
from sweeplaw.orchestrator.launch.queue import build_queue
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.trials.record import CurvePoint, Outcome, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training import stack as stacking
from sweeplaw.trials.training import trial as timing
from sweeplaw.trials.training.recipe import TrainingDevice
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.train import _left
from sweeplaw.trials.training.trial import Clock
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.data import open_data
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of
from tests.trials.training.preemption import ending_at
from tests.trials.training.small import SMALL

WORKLOAD = LanguageModel.of("", {})
OWN = ("tokens_per_second", "resumed_step")  # metrics in which a trial of a stack may differ from one alone
STEPS = 32  # of one epoch
# From update 10 on a rate at which the weights of the next update give a loss of hundreds of nats.
WILD = {"changes": "10: lr=10", "grad_clip": 0.0}


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a CPU train all members as one, as an accelerator does."""
    monkeypatch.setattr(TrainingDevice, "stacked", property(lambda device: True))


def spec(seed: int = 0, **values: Any) -> TrialSpec:
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**SMALL, "seed": seed, **values}))


def run(pack: Sequence[TrialSpec], context: Context) -> dict[str, list[Event]]:
    """Return the events of each trial of the pack."""
    found: dict[str, list[Event]] = {trial.trial_id: [] for trial in pack}
    for event in WORKLOAD.run(pack, context):
        found[event.trial_id].append(event)
    return found


def compared(events: Sequence[Event]) -> list[Any]:
    """Return what two runs of one trial agree in."""
    return [
        event
        if isinstance(event, CurvePoint)
        else (event.state, event.last_step, {k: v for k, v in event.metrics.items() if k not in OWN})
        for event in events
    ]


def ended(events: Sequence[Event]) -> Outcome:
    outcome = events[-1]
    assert isinstance(outcome, Outcome)
    return outcome


def weights(stack: Stack) -> torch.Tensor:
    """Return the bits of all weights of the stack, (members, parameters), which are equal where both are NaN."""
    assert isinstance(stack.model.weights, UnshardedWeights)
    return stack.model.weights.flat.view(torch.int32).clone()


def sizes_of_updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the members of a stack with each of its updates."""
    sizes: list[int] = []
    real = Stack._train_step

    def count(stack: Stack) -> Any:
        sizes.append(len(stack.members))
        return real(stack)

    monkeypatch.setattr(Stack, "_train_step", count)
    return sizes


def stack_of(pack: Sequence[TrialSpec]) -> Stack:
    members = [member for trial in pack for member in member_group(trial).members]
    return Stack(members, recipe_of(pack[0]), open_data(pack[0], None, "cpu").budget, TrainingDevice("cpu"))


VARIANTS = [
    {},
    {"optimizer": "muon"},
    {"optimizer": "schedule_free"},
    {"optimizer": "sgd"},
    {"optimizer": "lion"},
    {"dropout": 0.1},
    {"precision": "bfloat16"},
    {"precision": "fp4"},
]
names = pytest.mark.parametrize("values", VARIANTS, ids=lambda values: ",".join(map(str, values.values())) or "plain")


@names
@pytest.mark.heavy
@pytest.mark.parametrize("planted", [math.nan, math.inf])
def test_the_weights_of_a_member_without_a_finite_loss_stop_changing_and_the_others_do_not_notice(
    values: dict[str, Any], planted: float
) -> None:
    pack = [spec(seed, **values) for seed in range(3)]
    calm, mixed = stack_of(pack), stack_of(pack)
    for stack in (calm, mixed):
        stack.advance(10)
    assert isinstance(mixed.model.weights, UnshardedWeights)
    mixed.model.weights.flat[1, 50:60] = planted
    mixed.advance(11)
    assert mixed.diverged.tolist() == [False, True, False]
    frozen = weights(mixed)[1]
    mixed.advance(STEPS)
    calm.advance(STEPS)
    assert torch.equal(weights(mixed)[1], frozen)
    others = [0, 2]
    assert torch.equal(weights(mixed)[others], weights(calm)[others])
    assert np.array_equal(mixed.losses[:, others], calm.losses[:, others])


@pytest.mark.heavy
def test_a_stack_that_goes_on_from_its_state_keeps_a_member_frozen() -> None:
    pack = [spec(0), spec(1, **WILD), spec(2)]
    whole = stack_of(pack)
    whole.advance(20)
    resumed = stack_of(pack)
    state = whole.state()
    assert state is not None
    resumed.resume(state)
    assert resumed.diverged.tolist() == [False, True, False]
    frozen = weights(resumed)[1]
    assert torch.equal(frozen, weights(whole)[1])
    for stack in (whole, resumed):
        stack.advance(STEPS)
        assert torch.equal(weights(stack)[1], frozen)
    assert torch.equal(weights(resumed), weights(whole))


@names
@pytest.mark.heavy
@pytest.mark.parametrize("sync", [1, 16])
def test_trials_beside_one_that_diverges_equal_those_without_it_bit_for_bit(
    values: dict[str, Any], sync: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: None
) -> None:
    monkeypatch.setitem(stacking.SYNC_EVERY, "cpu", sync)
    calm, wild = [spec(0, **values), spec(2, lr=1e-2, **values)], spec(1, **{**values, **WILD, "lr": 1e-2})
    if values.get("optimizer") == "lion":  # its updates are as large as the rate, so that the loss is bounded
        wild = spec(1, **values, divergence_loss=2.0)
    context = Context("cpu", tmp_path)
    without, together = run(calm, context), run([calm[0], wild, calm[1]], context)
    for trial in calm:
        assert compared(together[trial.trial_id]) == compared(without[trial.trial_id])
        assert ended(together[trial.trial_id]).state == "completed"
    (alone,) = run([wild], context).values()
    own = ended(together[wild.trial_id])
    assert (own.state, own.last_step, own.message) == ("diverged", ended(alone).last_step, ended(alone).message)
    assert str(own.message).endswith(f"at step {own.last_step}")


@pytest.mark.heavy
def test_a_diverged_trial_ends_at_once_and_what_is_left_of_its_ensemble_changes_nothing(
    tmp_path: Path, stacked: None
) -> None:
    calm, wild = spec(0, members=2), spec(5, members=2, **WILD)
    events = list(WORKLOAD.run([wild, calm], Context("cpu", tmp_path)))
    steps = [event.step if isinstance(event, CurvePoint) else event.last_step for event in events]
    assert [one.state for one in events if isinstance(one, Outcome)] == ["diverged", "completed"]
    place = next(i for i, one in enumerate(events) if isinstance(one, Outcome))
    assert max(step or 0 for step in steps[:place]) <= 9
    assert steps[place + 1] == 14
    without = list(WORKLOAD.run([calm, spec(5, members=2)], Context("cpu", tmp_path)))
    own = [[event for event in found if event.trial_id == calm.trial_id] for found in (events, without)]
    assert compared(own[0]) == compared(own[1])


@pytest.mark.kill
@pytest.mark.heavy
def test_trials_preempted_when_another_diverges_resume_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: None
) -> None:
    pack = [spec(0), spec(1, **WILD), spec(2)]
    place = Context("cpu", tmp_path, checkpoints=str(tmp_path / "checkpoints"))
    expected = run(pack, replace(place, checkpoints=None))
    (step,) = (ended(events).last_step for events in expected.values() if ended(events).state == "diverged")
    assert step is not None
    with monkeypatch.context() as patched:
        first = run(pack, replace(place, ending=ending_at(step, patched)))
    assert [ended(events).state for events in first.values()] == ["preempted", "diverged", "preempted"]
    assert ended(first[pack[1].trial_id]).last_step == step
    assert len(os.listdir(tmp_path / "checkpoints")) == 2
    again = run([pack[0], pack[2]], place)
    for trial_id, events in again.items():
        assert compared(events) == compared(expected[trial_id])


LENGTHS = (1, 4, 2)  # epochs


@names
@pytest.mark.heavy
def test_trials_of_different_lengths_in_one_stack_equal_those_alone(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: None
) -> None:
    pack = [spec(i, epochs=epochs, lr=3e-3 * (i + 1), **values) for i, epochs in enumerate(LENGTHS)]
    alone = [next(iter(run([trial], Context("cpu", tmp_path / "alone")).values())) for trial in pack]
    sizes = sizes_of_updates(monkeypatch)
    together = run(pack, Context("cpu", tmp_path, weights=str(tmp_path / "kept")))
    assert sizes == [3] * STEPS + [2] * STEPS + [1] * (2 * STEPS)
    for trial, own, epochs in zip(pack, alone, LENGTHS, strict=True):
        events = together[trial.trial_id]
        assert ended(events).state == "completed"
        assert ended(events).last_step == epochs * STEPS
        for event, expected in zip(events, own, strict=True):
            if isinstance(event, CurvePoint):
                assert isinstance(expected, CurvePoint)
                assert (event.step, event.tokens, event.lr) == (expected.step, expected.tokens, expected.lr)
                assert (event.val_loss is None) == (expected.val_loss is None)
                assert event.train_loss == pytest.approx(expected.train_loss, abs=2e-4)
        for name in ("val_loss", "train_loss"):
            assert ended(events).metrics[name] == pytest.approx(ended(own).metrics[name], abs=2e-4)
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == len(pack)


@pytest.mark.heavy
def test_the_kept_weights_of_a_trial_are_those_at_its_own_end(tmp_path: Path, stacked: None) -> None:
    pack = [spec(0, epochs=1), spec(1, epochs=2)]
    run(pack, Context("cpu", tmp_path, weights=str(tmp_path / "together")))
    for trial in pack:
        run([trial], Context("cpu", tmp_path, weights=str(tmp_path / "alone")))
    files = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        together, alone = load_file(tmp_path / "together" / file), load_file(tmp_path / "alone" / file)
        assert all(torch.allclose(together[name], alone[name], atol=2e-3) for name in alone)


@pytest.mark.kill
@pytest.mark.heavy
@pytest.mark.parametrize("stop", [10, 32, 33, 70])
@pytest.mark.parametrize("members", [1, 2])
def test_a_stack_of_different_lengths_resumes_bit_for_bit(
    stop: int, members: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: None
) -> None:
    """Preempted before, at and after the end of the shortest, and while only the longest is left."""
    pack = [spec(10 * i, epochs=epochs, members=members) for i, epochs in enumerate(LENGTHS)]
    place = Context("cpu", tmp_path, checkpoints=str(tmp_path / "checkpoints"))
    expected = run(pack, replace(place, checkpoints=None))
    with monkeypatch.context() as patched:
        first = run(pack, replace(place, ending=ending_at(stop, patched)))
    left = [trial for trial in pack if ended(first[trial.trial_id]).state == "preempted"]
    assert {ended(first[trial.trial_id]).last_step for trial in left} == {stop}
    assert len(left) == 3 if stop <= 32 else 2 if stop <= 64 else 1
    again = run(left, place)
    for trial in left:
        assert compared(again[trial.trial_id]) == compared(expected[trial.trial_id])
        assert ended(again[trial.trial_id]).metrics["resumed_step"] == stop
    assert os.listdir(tmp_path / "checkpoints") == []


@pytest.mark.kill
@pytest.mark.heavy
def test_trials_of_a_stack_that_raises_go_on_alone_from_their_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: None
) -> None:
    """Seed 1 raises at update 20; the others do only the updates after their last checkpoint again."""
    pack = [spec(seed) for seed in range(3)]
    done: list[tuple[int, int]] = []
    real = Stack._train_step

    def step(stack: Stack) -> Any:
        if stack.step == 20 and any(member.seed == 1 for member in stack.members):
            raise ValueError("planted")
        done.append((len(stack.members), stack.step))
        return real(stack)

    monkeypatch.setattr(Stack, "_train_step", step)
    folder = str(tmp_path / "checkpoints")
    specs = tuple(one.canonical() for one in pack)
    job = worker.Job("p", "language_model", {}, specs, (1,) * 3, "s", "L", checkpoints=folder, checkpoint_seconds=0.0)
    rows = list(worker.run(job, worker.make_context(job, device="cpu", folder=tmp_path), provenance("cpu", None)))
    records = {row.spec["seed"]: row.outcome for row in rows if isinstance(row, TrialRecord)}
    assert {seed: outcome.state for seed, outcome in records.items()} == {0: "completed", 1: "failed", 2: "completed"}
    assert str(records[1].message).startswith("ValueError: planted")
    alone = list(range(20, STEPS))
    assert done == [(3, number) for number in range(20)] + [(1, number) for number in alone] * 2
    points = [(row.trial_id, row.step) for row in rows if isinstance(row, CurvePoint)]
    assert len(points) == len(set(points))
    assert sum(trial_id == pack[0].trial_id for trial_id, _ in points) == 8


SWEEP = """
name = "lengths"
workload = "language_model"
[scientific]
epochs = [1, 2, 4]
[nuisance]
lr = [0.003, 0.01]
[derived]
warmup_fraction = "0.05 / epochs"
[fixed]
corpus = "markov:states=12,spread=1.5,tokens=65536"
context = 16
unique_tokens = 4096
width = 16
validation_tokens = 1024
"""


@pytest.mark.heavy
def test_a_sweep_of_lengths_is_one_stack_whose_records_have_their_own_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: None
) -> None:
    """A launch on one accelerator, in whose place this CPU trains."""
    made = plan(parse(SWEEP))
    gpu = parse_profile({"kind": "local", "cpus": 4, "gpus": 1, "hardware": "a100-80", "gpus_per_trial": 1}, name="gpu")
    (pack,) = iter(build_queue(made, gpu, [Node("a", "a", 4.0, 1.0, 10**12)]).take, None)
    specs = tuple(one.canonical() for one in pack.specs)
    job = worker.Job(pack.pack_id, "language_model", {}, specs, (1,) * len(specs), "lengths", "L")
    real = LanguageModel.run
    monkeypatch.setattr(
        LanguageModel, "run", lambda own, some, context: real(own, some, replace(context, device="cpu"))
    )
    sizes = sizes_of_updates(monkeypatch)
    rows = list(worker.run(job, worker.make_context(job, device="cuda", folder=tmp_path), provenance("cpu", None)))
    records = [row for row in rows if isinstance(row, TrialRecord)]
    assert sizes == [6] * STEPS + [4] * STEPS + [2] * (2 * STEPS)
    assert [record.outcome.last_step for record in records] == [STEPS * n for n in (1, 1, 2, 2, 4, 4)]
    assert [(record.cost.tokens, record.cost.steps) for record in records] == [
        (4096 * n, STEPS * n) for n in (1, 1, 2, 2, 4, 4)
    ]
    assert sum(record.cost.flops or 0 for record in records) == made.total("flops")


def test_trials_are_charged_the_time_of_their_device_while_they_train(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    clock = Clock(3, _since=now[0])
    charged = []
    for seconds in (6.0, 4.0, 5.0):  # 6 / 3, then 4 / 2 more, then 5 more
        now[0] += seconds
        charged.append(clock.outcome("t", "completed", None, 1, {}).train_seconds or 0.0)
    assert charged == [2.0, 4.0, 9.0]
    assert sum(charged) == 15.0


class Called:
    """A stack of members that keeps what it is asked to do."""

    def __init__(self, count: int) -> None:
        self.members: list[None] = [None] * count
        self.calls: list[tuple[str, Sequence[int]]] = []

    def keep(self, rows: Sequence[int]) -> None:
        self.calls.append(("keep", rows))

    def freeze(self, rows: Sequence[int]) -> None:
        self.calls.append(("freeze", rows))


@pytest.mark.parametrize(
    ("ended", "calls"),
    [
        ({1: "diverged"}, [("freeze", [1])]),  # the product of all three stays, on which the bits of the others depend
        ({1: "completed"}, [("keep", [0, 2])]),
        ({0: "completed", 1: "diverged"}, [("keep", [2])]),
        ({}, []),
    ],
)
def test_a_stack_shrinks_only_where_a_trial_has_completed(
    ended: dict[int, str], calls: list[tuple[str, list[int]]]
) -> None:
    trials: list[Any] = [
        SimpleNamespace(
            diverged_at=4 if ended.get(row) == "diverged" else None,
            reported_steps=8 if ended.get(row) == "completed" else 4,
            steps=8,
            rows=slice(row, row + 1),
            group=SimpleNamespace(members=[None]),
        )
        for row in range(3)
    ]
    stack: Any = Called(3)
    left = _left(trials, [stack])
    assert stack.calls == calls
    assert left == [trial for row, trial in enumerate(trials) if row not in ended]
    rows = range(3) if not calls or calls[0][0] == "freeze" else calls[0][1]
    assert [trial.rows.start for trial in left] == [rows.index(trials.index(trial)) for trial in left]
