"""The training loop: a spec determines its loss, members are independent, and every ending is an outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.changes import parse as changes
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.evaluation.ensemble import ensemble_losses, evaluate
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack, is_diverged
from sweeplaw.trials.training.train import Data, train
from sweeplaw.trials.training.trial import Clock, MemberGroup, ReportedSteps
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model import run as running

MARKOV = "markov:states=12,spread=1.5,tokens=65536"
STEPS = 40
CPU = TrainingDevice("cpu")
RECIPE = Recipe(Shape(2, 16, 2, 40, 12), 16, 8, STEPS, 1e4, "float32")
UNCLIPPED = Coefficients(grad_clip=0.0)
MEMBER = Member(0, 1e-2, 0.1, Schedule("cosine", STEPS, 0.1), 20.0)
# Its first update takes the loss from 2.5 to more than 500 nats without an overflow. At rates so high that numbers do
# overflow, the loss can be that of equal logits for steps before it is NaN: how many depends on the CPU's kernels.
WILD = replace(MEMBER, lr=10.0, coefficients=UNCLIPPED, schedule=Schedule("constant", STEPS))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def budget() -> DataBudget:
    return open_corpus(MARKOV, "none").budget(16, 16 * 200)


@pytest.fixture(scope="module")
def held_out() -> DataBudget:
    return open_corpus(MARKOV, "none").held_out(16, 16 * 64)


def seeds(*values: int, **changes: Any) -> list[Member]:
    return [replace(MEMBER, seed=seed, **changes) for seed in values]


def weights(stack: Stack) -> torch.Tensor:
    """Return all weights of the stack, (members, parameters)."""
    assert isinstance(stack.model.weights, UnshardedWeights)
    return stack.model.weights.flat


def events(
    jobs: list[MemberGroup], budget: DataBudget, held_out: DataBudget, recipe: Recipe = RECIPE
) -> list[CurvePoint | Outcome]:
    points = ReportedSteps.evenly(recipe.steps, curve=8, evaluations=4)
    return list(train(jobs, recipe, [points] * len(jobs), Data(budget, held_out), CPU, Clock(len(jobs))))


@pytest.mark.heavy
def test_members_of_a_stack_train_as_single_members_do(budget: DataBudget) -> None:
    members = [
        *seeds(3, 4),
        replace(
            MEMBER, seed=3, lr=3e-3, weight_decay=1.0, coefficients=UNCLIPPED, schedule=Schedule("linear", STEPS, 0.2)
        ),
    ]
    together = Stack(members, RECIPE, budget, CPU)
    losses, norms = together.advance(STEPS)
    for row, member in enumerate(members):
        alone = Stack([member], RECIPE, budget, CPU)
        own_losses, own_norms = alone.advance(STEPS)
        assert losses[:, row] == pytest.approx(own_losses[:, 0], abs=2e-4)
        assert norms[:, row] == pytest.approx(own_norms[:, 0], rel=0.02)
        # Adam divides by the gradient's own size, so rounding differences grow over the steps.
        assert torch.allclose(weights(together)[row], weights(alone)[0], atol=2e-3)
    assert losses[-1].max() < losses[0].min() - 0.1


@pytest.mark.heavy
def test_the_same_members_train_to_the_same_bits(budget: DataBudget) -> None:
    first, second = Stack(seeds(1), RECIPE, budget, CPU), Stack(seeds(1), RECIPE, budget, CPU)
    first.advance(STEPS)
    second.advance(7)  # where the loop pauses makes no difference
    second.advance(STEPS)
    assert torch.equal(weights(first), weights(second))


@pytest.mark.heavy
def test_a_diverging_member_is_detected_and_does_not_affect_the_others(budget: DataBudget) -> None:
    calm = Stack([MEMBER, replace(MEMBER, seed=1)], RECIPE, budget, CPU)
    mixed = Stack([MEMBER, replace(WILD, seed=1, lr=1e4)], RECIPE, budget, CPU)
    calm.advance(STEPS)
    losses, _ = mixed.advance(STEPS)
    assert mixed.diverged.tolist() == [False, True]
    assert torch.equal(weights(calm)[0], weights(mixed)[0])
    assert np.isnan(losses[-1, 1])  # each step multiplies its weights by -999: they overflow long before the last


@pytest.mark.heavy
def test_a_diverged_trial_ends_at_the_next_point_with_its_step(budget: DataBudget, held_out: DataBudget) -> None:
    (outcome,) = events([MemberGroup("wild", (WILD,))], budget, held_out)
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.last_step) == ("diverged", 2)
    assert outcome.message == "loss is not a number or above 20 nats at step 2"
    assert dict(outcome.metrics) == {}


def test_one_diverged_member_ends_its_ensemble(budget: DataBudget, held_out: DataBudget) -> None:
    (outcome,) = events([MemberGroup("pair", (MEMBER, replace(WILD, seed=1)))], budget, held_out)
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.last_step) == ("diverged", 2)


def test_a_bound_below_the_first_loss_is_exceeded_at_the_first_step(budget: DataBudget, held_out: DataBudget) -> None:
    outcome = events([MemberGroup("strict", (replace(MEMBER, divergence_loss=0.5),))], budget, held_out)[-1]
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.last_step) == ("diverged", 1)


def test_a_loss_at_its_bound_has_not_diverged_and_what_is_no_number_has() -> None:
    losses = np.array([-1.0, 2.0, np.nextafter(2.0, 3.0), np.inf, np.nan])
    assert is_diverged(losses, 2.0).tolist() == [False, False, True, True, True]


@pytest.mark.heavy
def test_the_learning_rate_of_a_curve_is_the_one_that_was_used(budget: DataBudget, held_out: DataBudget) -> None:
    changed = replace(MEMBER, changes=changes("18: lr=0.02, weight_decay=0.3; 30: lr=0.001"))
    points = [one for one in events([MemberGroup("t", (changed,))], budget, held_out) if isinstance(one, CurvePoint)]
    rates = [MEMBER.lr] * 3 + [0.02] * 3 + [0.001] * 2  # at updates 4, 9, 14, 19, 24, 29, 34, 39, counted from 0
    assert [point.lr for point in points] == pytest.approx(
        [rate * MEMBER.schedule(point.step - 1) for rate, point in zip(rates, points, strict=True)]
    )


@pytest.mark.heavy
def test_curves_cover_the_run_and_end_in_the_outcome(budget: DataBudget, held_out: DataBudget) -> None:
    *curve, outcome = events([MemberGroup("t", (MEMBER,))], budget, held_out)
    assert isinstance(outcome, Outcome)
    points = [point for point in curve if isinstance(point, CurvePoint)]
    assert [point.step for point in points] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert [point.step for point in points if point.val_loss is not None] == [10, 20, 30, 40]
    assert points[-1].val_loss == outcome.metrics["val_loss"]
    assert points[-1].tokens == STEPS * 8 * 16
    assert points[0].lr == pytest.approx(MEMBER.lr * MEMBER.schedule(4))
    alone = Stack([MEMBER], RECIPE, budget, CPU)
    losses, norms = alone.advance(STEPS)
    assert [point.train_loss for point in points] == pytest.approx([*losses.reshape(8, 5).mean(axis=1)])
    assert points[-1].grad_norm == pytest.approx(float(norms[-1, 0]))
    assert outcome.metrics["train_loss"] == pytest.approx(losses[-4:].mean())


def test_an_ensemble_is_never_worse_than_its_mean_member_at_any_token() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(8, 5, 7, 11, generator=generator)
    targets = torch.randint(11, (5, 7), generator=generator)
    combined, alone = ensemble_losses(logits, targets, members=4)
    assert combined.shape == alone.shape == (2, 35)
    assert (combined <= alone + 1e-6).all()
    # The mean of logits is the normalized geometric mean of the distributions.
    geometric = logits.log_softmax(-1).unflatten(0, (2, 4)).mean(dim=1).log_softmax(-1)
    expected = -geometric.gather(-1, targets.expand(2, -1, -1)[..., None])[..., 0].flatten(1)
    assert torch.allclose(combined, expected, atol=1e-5)


def test_an_ensemble_of_identical_members_has_their_loss(budget: DataBudget, held_out: DataBudget) -> None:
    stack = Stack([MEMBER, MEMBER], RECIPE, budget, CPU)
    (both,) = evaluate([stack], torch.from_numpy(held_out.read(np.arange(held_out.size))), members=2)
    assert both.loss == pytest.approx(both.member_loss, abs=1e-6)


@pytest.mark.heavy
def test_the_members_of_an_ensemble_train_as_single_members_do(budget: DataBudget, held_out: DataBudget) -> None:
    singles = [events([MemberGroup(str(seed), tuple(seeds(seed)))], budget, held_out)[-1] for seed in (5, 6, 7)]
    ensemble = events([MemberGroup("all", tuple(seeds(5, 6, 7)))], budget, held_out)[-1]
    assert isinstance(ensemble, Outcome)
    losses = [float(single.metrics["val_loss"]) for single in singles if isinstance(single, Outcome)]  # type: ignore[arg-type]
    assert ensemble.metrics["member_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert float(ensemble.metrics["val_loss"]) < np.mean(losses)  # type: ignore[arg-type]


def test_a_stack_of_trials_evaluates_each_as_a_stack_of_its_own_does(budget: DataBudget, held_out: DataBudget) -> None:
    windows = torch.from_numpy(held_out.read(np.arange(held_out.size)))
    stack = Stack(seeds(1, 2, 3, 4), RECIPE, budget, CPU)
    pairs = evaluate([stack], windows, members=2)
    for pair, own in zip(pairs, ((1, 2), (3, 4)), strict=True):
        (expected,) = evaluate([Stack(seeds(*own), RECIPE, budget, CPU)], windows, members=2)
        assert (pair.loss, pair.member_loss) == pytest.approx((expected.loss, expected.member_loss), abs=1e-5)


@pytest.mark.heavy
def test_bfloat16_trains_to_nearly_the_same_loss(budget: DataBudget, held_out: DataBudget) -> None:
    exact, rough = (
        events([MemberGroup("t", (MEMBER,))], budget, held_out, replace(RECIPE, precision=precision))[-1]
        for precision in ("float32", "bfloat16")
    )
    assert isinstance(exact, Outcome)
    assert isinstance(rough, Outcome)
    assert rough.metrics["val_loss"] != exact.metrics["val_loss"]
    assert rough.metrics["val_loss"] == pytest.approx(exact.metrics["val_loss"], abs=0.05)


WORKLOAD = LanguageModel.of("", {})


def spec(**values: Any) -> TrialSpec:
    small = {"corpus": MARKOV, "context": 16, "unique_tokens": 2048, "width": 16, "validation_tokens": 1024}
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**small, **values}))


@pytest.mark.heavy
def test_a_trial_has_the_same_loss_in_a_pack_as_alone(tmp_path: Path) -> None:
    pack = [spec(seed=0), spec(seed=1, lr=1e-2), spec(seed=2, members=2)]
    context = Context("cpu", tmp_path)
    outcomes = {event.trial_id: event for event in WORKLOAD.run(pack, context) if isinstance(event, Outcome)}
    assert list(outcomes) == [trial.trial_id for trial in pack]
    for trial in pack:
        (alone,) = (event for event in WORKLOAD.run([trial], context) if isinstance(event, Outcome))
        assert alone.metrics["val_loss"] == outcomes[trial.trial_id].metrics["val_loss"]
        assert alone.train_seconds is not None


def test_running_out_of_memory_is_an_outcome_and_the_next_trial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = spec(seed=0), spec(seed=1)
    real = running._train

    def short_of_memory(job: running.StackJob, *rest: Any) -> Iterator[Any]:
        if first in job.specs:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        yield from real(job, *rest)

    monkeypatch.setattr(running, "_train", short_of_memory)
    states = [
        event.state for event in WORKLOAD.run([first, second], Context("cpu", tmp_path)) if isinstance(event, Outcome)
    ]
    assert states == ["out_of_memory", "completed"]


def test_a_stack_too_large_for_the_device_is_retried_in_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = [spec(seed=seed) for seed in range(5)]
    tried = []

    def fits_two(job: running.StackJob, *rest: Any) -> Iterator[Any]:
        tried.append(len(job.specs))
        if len(job.specs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from (Outcome(trial.trial_id, "completed") for trial in job.specs)

    monkeypatch.setattr(running, "_train", fits_two)
    outcomes = list(WORKLOAD.run(pack, Context("cuda", tmp_path)))
    assert tried == [5, 2, 3, 1, 2]
    assert [(event.trial_id, event.state) for event in outcomes if isinstance(event, Outcome)] == [
        (trial.trial_id, "completed") for trial in pack
    ]


def test_running_out_of_memory_late_leaves_each_trial_one_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = [spec(seed=seed) for seed in range(2)]

    def late(job: running.StackJob, *rest: Any) -> Iterator[Any]:
        if pack[0] in job.specs:
            yield Outcome(pack[0].trial_id, "diverged")
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(running, "_train", late)
    outcomes = [event for event in WORKLOAD.run(pack, Context("cuda", tmp_path)) if isinstance(event, Outcome)]
    assert [event.state for event in outcomes] == ["diverged", "out_of_memory"]


def test_an_error_that_is_not_about_memory_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*rest: Any) -> Iterator[Any]:
        raise RuntimeError("planted")
        yield

    monkeypatch.setattr(running, "_train", broken)
    with pytest.raises(RuntimeError, match="planted"):
        list(WORKLOAD.run([spec()], Context("cpu", tmp_path)))


def test_training_restores_the_settings_of_the_process(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    list(WORKLOAD.run([spec()], Context("cpu", tmp_path, threads=1)))
    assert torch.get_num_threads() == 2
    assert np.float64(5e-324) * 1.0 > 0  # denormal numbers are not flushed


def test_closing_the_iterator_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    real = Stack.advance

    def advance(stack: Stack, *rest: Any) -> Any:
        steps.append(rest[0])
        return real(stack, *rest)

    monkeypatch.setattr(Stack, "advance", advance)
    running_pack = WORKLOAD.run([spec(), spec(seed=1)], Context("cpu", tmp_path))
    next(running_pack)
    running_pack.close()
    assert len(steps) == 1
