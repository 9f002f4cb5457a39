"""Soft labels: the loss and its gradient against loops over single numbers, and what follows from their definition."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.training.distillation import SoftLabels, soft_losses
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.weights import UnshardedWeights

MEMBERS, BATCH, CONTEXT, VOCABULARY = 2, 3, 4, 5
SHAPE = Shape(2, 16, 2, 40, 12)
RECIPE = Recipe(SHAPE, 16, 8, 12, 1e4, "float32")
MEMBER = Member(0, 1e-2, 0.1, Schedule("cosine", 12, 0.1), 20.0)


@pytest.fixture(scope="module")
def budget() -> DataBudget:
    return open_corpus("markov:states=12,spread=1.5,tokens=65536", "none").budget(16, 16 * 200)


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(values: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("smoothing", [None, 0.2])
def test_loss_and_gradient_are_those_of_loops_over_single_numbers(weight, temperature, smoothing):
    logits = random(MEMBERS, BATCH * CONTEXT, VOCABULARY).requires_grad_()
    taught = random(MEMBERS * BATCH, CONTEXT, VOCABULARY, seed=1)
    windows = torch.randint(VOCABULARY, (MEMBERS, BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(2))
    smoothings = None if smoothing is None else torch.tensor([smoothing, 0.0], dtype=torch.float64)
    losses = SoftLabels(lambda _: taught, weight, temperature).losses(logits, windows, smoothings)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    positions = BATCH * CONTEXT
    for member in range(MEMBERS):
        total, expected = 0.0, torch.zeros(positions, VOCABULARY, dtype=torch.float64)
        spread = 0.0 if smoothing is None or member else smoothing
        for position in range(positions):
            own = logits[member, position].tolist()
            other = taught.view(MEMBERS, positions, VOCABULARY)[member, position].tolist()
            target = int(windows[member, :, 1:].flatten()[position])
            plain, warm, aim = softmax(own, 1.0), softmax(own, temperature), softmax(other, temperature)
            for token in range(VOCABULARY):
                share = (1 - spread) * (token == target) + spread / VOCABULARY
                total -= (1 - weight) * share * math.log(plain[token]) / positions
                total -= weight * temperature**2 * aim[token] * math.log(warm[token]) / positions
                slope = (1 - weight) * (plain[token] - share) + weight * temperature * (warm[token] - aim[token])
                expected[position, token] = slope / positions
        assert losses[member].item() == pytest.approx(total, rel=1e-12)
        assert torch.allclose(gradient[member], expected, rtol=1e-10, atol=1e-14)


def test_a_student_that_predicts_as_its_teacher_has_nothing_to_learn():
    logits = random(1, 6, VOCABULARY).requires_grad_()
    loss = soft_losses(logits, logits.detach(), 2.0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.abs().max() < 1e-15
    shares = (logits.detach() / 2).softmax(dim=-1)
    assert loss.item() == pytest.approx(float(4 * -(shares * shares.log()).sum(dim=-1).mean()))


def test_a_likely_token_alone_is_a_hard_label():
    logits, targets = random(1, 6, VOCABULARY), torch.tensor([[0, 1, 2, 3, 4, 0]])
    certain = torch.full((1, 6, VOCABULARY), -1e3, dtype=torch.float64).scatter_(-1, targets[..., None], 1e3)
    hard = torch.nn.functional.cross_entropy(logits[0], targets[0])
    assert float(soft_losses(logits, certain, 1.0)) == pytest.approx(float(hard), rel=1e-12)


def trained(members: list[Member], budget: DataBudget, divisor: int = 1, until: int = 12, **options: Any) -> Stack:
    teacher = Transformer(SHAPE, 16, [9], "cpu")
    labels = SoftLabels(lambda tokens: 3 * teacher.logits(tokens[None])[0].detach(), 0.5, 2.0)
    device = TrainingDevice("cpu", micro_batch_divisor=divisor)
    stack = Stack(members, RECIPE, budget, device, **{"soft_labels": labels, **options})
    stack.advance(until)
    return stack


def flat(stack: Stack) -> Tensor:
    assert isinstance(stack.model.weights, UnshardedWeights)
    return stack.model.weights.flat


@pytest.mark.heavy
def test_members_learn_alike_alone_and_together_and_in_micro_batches(budget):
    members = [MEMBER, replace(MEMBER, seed=1, lr=3e-3)]
    together = flat(trained(members, budget))
    for row, member in enumerate(members):
        assert torch.allclose(together[row], flat(trained([member], budget))[0], atol=2e-3)
    assert torch.allclose(flat(trained([MEMBER], budget, divisor=4)), flat(trained([MEMBER], budget)), atol=2e-3)
    plain = flat(trained([MEMBER], budget, soft_labels=None))
    assert not torch.allclose(plain, flat(trained([MEMBER], budget)), atol=2e-2)


@pytest.mark.heavy
def test_a_resumed_student_ends_with_the_same_bits(budget):
    whole, half = trained([MEMBER], budget), trained([MEMBER], budget, until=5)
    state = half.state()
    assert state is not None
    resumed = trained([MEMBER], budget, until=0)
    resumed.resume(state)
    resumed.advance(12)
    assert torch.equal(flat(resumed), flat(whole))
