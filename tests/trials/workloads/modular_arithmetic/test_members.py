"""The networks, losses and updates agree with other implementations, and stacked members with single ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.modular_arithmetic.knobs import KNOBS
from sweeplaw.trials.workloads.modular_arithmetic.losses import remove_parallel, stablemax_losses
from sweeplaw.trials.workloads.modular_arithmetic.members import Members
from sweeplaw.trials.workloads.modular_arithmetic.networks import network
from sweeplaw.trials.workloads.modular_arithmetic.shapes import parameters, tensors

SMALL = {"modulus": 7, "width": 8, "heads": 2, "lr": 0.01, "steps": 50}
KINDS: tuple[dict[str, Any], ...] = (
    {"model": "mlp", "activation": "square"},
    {"model": "mlp", "hidden_layers": 2, "batch_pairs": 5},
    {"model": "transformer"},
)


def spec(**values: Any) -> TrialSpec:
    return TrialSpec.of("modular_arithmetic", KNOBS, {**SMALL, **values})


def weights_of(knobs: Any, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn((1, *slot.size), generator=generator) for name, slot in tensors(knobs).items()}


def all_pairs(modulus: int) -> tuple[Tensor, Tensor]:
    first, second = torch.meshgrid(torch.arange(modulus), torch.arange(modulus), indexing="ij")
    return first.reshape(1, -1), second.reshape(1, -1)


@pytest.mark.parametrize("activation", ["relu", "square"])
def test_the_mlp_is_dense_layers_on_one_hot_operands(activation: str) -> None:
    knobs = spec(hidden_layers=2, activation=activation).knobs
    weights, (first, second) = weights_of(knobs), all_pairs(7)
    one_hot = torch.cat([F.one_hot(first[0], 7), F.one_hot(second[0], 7)], dim=1).float()
    nonlinear: Any = {"relu": F.relu, "square": torch.square}[activation]
    hidden = nonlinear(F.linear(one_hot, torch.cat([weights["first"][0], weights["second"][0]]).T))
    theirs = F.linear(nonlinear(F.linear(hidden, weights["hidden1"][0])), weights["output"][0])
    assert torch.allclose(network(knobs)(weights, first, second)[0], theirs, rtol=1e-4, atol=1e-4)


def test_the_transformer_is_pytorch_attention_read_at_the_last_of_three_tokens() -> None:
    knobs = spec(model="transformer").knobs
    weights, (first, second) = weights_of(knobs), all_pairs(7)
    own = {name: tensor[0] for name, tensor in weights.items()}
    tokens = torch.stack([first[0], second[0], torch.full_like(first[0], 7)], dim=1)
    stream = own["tokens"][tokens] + own["positions"]
    attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    attention.in_proj_weight.data = torch.cat([own["query"], own["key"], own["value"]])
    attention.out_proj.weight.data = own["attention_out"]
    causal = torch.triu(torch.ones(3, 3, dtype=torch.bool), diagonal=1)
    stream = stream + attention(stream, stream, stream, attn_mask=causal, need_weights=False)[0]
    stream = stream + F.linear(F.relu(F.linear(stream, own["up"])), own["down"])
    theirs = F.linear(stream[:, -1], own["output"])
    assert torch.allclose(network(knobs)(weights, first, second)[0], theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_a_member_of_a_stack_trains_as_it_does_alone(kind: dict[str, Any]) -> None:
    """Within 1e-4 of the weights after 30 updates: products of a batch are rounded otherwise than single ones."""
    members: list[dict[str, Any]] = [
        {"seed": 0},
        {"seed": 1, "weight_decay": 0.0},
        {"seed": 1, "lr": 0.002},
        {"seed": 2, "init_scale": 2.0},
    ]
    together = Members([spec(**kind, **one) for one in members], "cpu")
    for _ in range(30):
        together.advance()
    for row, one in enumerate(members):
        alone = Members([spec(**kind, **one)], "cpu")
        for _ in range(30):
            alone.advance()
        assert torch.allclose(together.flat[row], alone.flat[0], rtol=0, atol=1e-4)
        assert float(together.scores().val_loss[row]) == pytest.approx(float(alone.scores().val_loss[0]), rel=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_member_keeps_its_weights_and_changes_nothing_in_the_others(kind: dict[str, Any]) -> None:
    pack = [spec(**kind, seed=seed) for seed in range(3)]
    calm, mixed = Members(pack, "cpu"), Members(pack, "cpu")
    for members in (calm, mixed):
        members.advance()
    with torch.no_grad():
        mixed.flat[1] = torch.nan
    mixed.advance()
    mixed.freeze(1)
    frozen = mixed.flat[1].detach().view(torch.int32).clone()
    for members, updates in ((mixed, 10), (calm, 11)):
        for _ in range(updates):
            members.advance()
    assert torch.equal(mixed.flat[1].detach().view(torch.int32), frozen)
    assert torch.equal(mixed.flat[[0, 2]], calm.flat[[0, 2]])


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_that_of_pytorch(kind: dict[str, Any]) -> None:
    """Full batches; ten updates within 1e-5 of `torch.optim.AdamW` after the same warm-up."""
    one = spec(**{**kind, "batch_pairs": 0}, weight_decay=0.7, warmup_steps=3)
    members = Members([one], "cpu")
    weights = {
        name: part.detach().clone().requires_grad_()
        for (name, slot), part in zip(tensors(one.knobs).items(), _parts(members), strict=True)
        for part in [part.view(1, *slot.size)]
    }
    optimizer = torch.optim.AdamW(list(weights.values()), lr=0.01, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.7)
    pairs = members._train
    for step in range(10):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * min(1.0, (step + 1) / 4)
        optimizer.zero_grad()
        logits = network(one.knobs)(weights, members._first[pairs], members._second[pairs])
        F.cross_entropy(logits[0], members._answers[pairs][0]).backward()
        optimizer.step()
        members.advance()
    theirs = torch.cat([part.flatten() for part in weights.values()])
    assert torch.allclose(members.flat[0], theirs, rtol=0, atol=1e-5)


def _parts(members: Members) -> Any:
    return members.flat[0].split([slot.numel for slot in tensors(members.specs[0].knobs).values()])


def test_stablemax_is_its_definition() -> None:
    logits = torch.tensor([[[-3.0, -0.5, 0.0, 0.5, 20.0]]], dtype=torch.float64)
    scores = torch.tensor([1 / 4, 1 / 1.5, 1.0, 1.5, 21.0], dtype=torch.float64)
    for answer in range(5):
        loss = stablemax_losses(logits, torch.tensor([[answer]]))
        assert float(loss) == pytest.approx(float(-(scores[answer] / scores.sum()).log()), rel=1e-12)


def test_the_gradient_of_stablemax_is_right_on_both_sides_of_zero() -> None:
    logits = torch.linspace(-2, 2, 10, dtype=torch.float64).view(1, 2, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: stablemax_losses(given, torch.tensor([[1, 4]])), logits)


def test_softmax_absorbs_what_stablemax_keeps() -> None:
    """At a margin of 20 nats float32 rounds the probability of the answer to 1: its logit gets no gradient."""
    gradients = []
    for losses in (lambda z, y: F.cross_entropy(z[0], y[0]), stablemax_losses):
        logits = torch.tensor([[[20.0, 0.0, 0.0]]], requires_grad=True)
        (gradient,) = torch.autograd.grad(losses(logits, torch.tensor([[0]])).sum(), logits)
        gradients.append(float(gradient[0, 0, 0]))
    assert gradients[0] == 0.0
    assert gradients[1] < -1e-3


def test_what_is_left_of_a_gradient_is_orthogonal_to_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, size, generator=generator, dtype=torch.float64) for size in (10, 40)]
    given = [torch.randn(3, size, generator=generator, dtype=torch.float64) for size in (10, 40)]
    left = [gradient.clone() for gradient in given]
    weights[0][1] = 0.0  # no direction
    remove_parallel(left, weights)
    for before, after, own in zip(given, left, weights, strict=True):
        assert torch.allclose((after * own).sum(1), torch.zeros(3, dtype=torch.float64), atol=1e-12)
        removed = before - after
        assert torch.allclose(removed * own.square().sum(1, keepdim=True), (removed * own).sum(1, keepdim=True) * own)
    assert torch.equal(left[0][1], given[0][1])


def test_the_orthogonal_gradient_changes_training() -> None:
    flats = []
    for orthogonal in (False, True):
        members = Members([spec(orthogonal_gradient=orthogonal)], "cpu")
        for _ in range(5):
            members.advance()
        flats.append(members.flat.detach())
    assert float((flats[0] - flats[1]).abs().max()) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_counted_are_those_that_train(kind: dict[str, Any]) -> None:
    one = spec(**kind)
    assert Members([one], "cpu").flat.numel() == parameters(one.knobs)[0]


def test_batches_of_a_pass_are_disjoint_and_of_the_training_pairs() -> None:
    members = Members([spec(batch_pairs=6, seed=seed) for seed in (0, 1)], "cpu")
    batches = [next(members._batches) for _ in range(4)]  # of 24 training pairs
    for row in range(2):
        seen = torch.cat([batch[row] for batch in batches])
        assert sorted(seen.tolist()) == sorted(members._train[row].tolist())


def test_accuracies_are_of_the_pairs_of_each_kind() -> None:
    members = Members([spec(seed=3)], "cpu")
    scores = members.scores()
    with torch.no_grad():
        logits = network(members.specs[0].knobs)(members._weights(), members._first[None], members._second[None])[0]
    right, losses = logits.argmax(-1) == members._answers, F.cross_entropy(logits, members._answers, reduction="none")
    trained = torch.zeros(49, dtype=torch.bool).index_fill_(0, members._train[0], True)
    assert float(scores.train_accuracy) == pytest.approx(float(right[trained].float().mean()), abs=1e-6)
    assert float(scores.val_accuracy) == pytest.approx(float(right[~trained].float().mean()), abs=1e-6)
    assert float(scores.train_loss) == pytest.approx(float(losses[trained].mean()), rel=1e-5)
    assert float(scores.val_loss) == pytest.approx(float(losses[~trained].mean()), rel=1e-5)
