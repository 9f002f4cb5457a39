"""Regularizers act in training only, are those of their definitions, and are each member's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training import reference
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.regularizers.layers import smoothed_losses
from sweeplaw.trials.training.regularizers.noise import StepNoise
from sweeplaw.trials.training.regularizers.settings import NONE, Regularizers
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.language_model import LanguageModel

SHAPE = Shape(3, 16, 2, 40, 12)
RECIPE = Recipe(SHAPE, 16, 8, 12, 1e4, "float32")
ALL = Regularizers(dropout=0.2, attention_dropout=0.3, stochastic_depth=0.4, label_smoothing=0.1)
MEMBER = Member(0, 1e-2, 0.1, Schedule("cosine", 12, 0.1), 20.0)


@pytest.fixture(scope="module")
def budget() -> DataBudget:
    return open_corpus("markov:states=12,spread=1.5,tokens=65536", "none").budget(16, 16 * 200)


def trained(members: list[Member], budget: DataBudget, divisor: int = 1, until: int = 12) -> Stack:
    stack = Stack(members, RECIPE, budget, TrainingDevice("cpu", micro_batch_divisor=divisor))
    stack.advance(until)
    return stack


def flat(stack: Stack) -> Tensor:
    assert isinstance(stack.model.weights, UnshardedWeights)
    return stack.model.weights.flat


def plain_losses(model: Transformer, windows: Tensor, noise: StepNoise) -> Tensor:
    """The model of `reference` with the masks of ``noise`` where the definitions of the regularizers have them."""
    assert isinstance(model.weights, UnshardedWeights)
    weights, members = model.weights.parameters, len(windows)
    tokens, context = windows[..., :-1], windows.shape[-1] - 1
    stream = weights["embedding"][torch.arange(members)[:, None], tokens.flatten(1)]
    hidden = torch.ones(context, context).triu(1).bool()
    for block in range(SHAPE.depth):
        own = {name.removeprefix(f"{block}."): weight for name, weight in weights.items()}
        qkv = reference.norm_project(stream, own["attention_norm"], own["qkv"])
        query, key, value = reference.split_rotated(qkv, model.rotation[:context], SHAPE.heads)
        scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * (SHAPE.width // SHAPE.heads) ** -0.5
        attended = noise.attention(scores.masked_fill(hidden, -1e9).softmax(-1)) @ value
        mixed = attended.transpose(1, 2).reshape(stream.shape)
        stream = stream + noise.residual(reference.project(mixed, own["attention_out"]), block, SHAPE.depth)
        gate, up = reference.norm_project(stream, own["ffn_norm"], own["gate_up"]).chunk(2, dim=-1)
        branch = reference.project(gate * gate.sigmoid() * up, own["down"])
        stream = stream + noise.residual(branch, block, SHAPE.depth)
    logits = reference.norm_project(stream, weights["final_norm"], weights["head"]).flatten(0, 1)
    losses = F.cross_entropy(logits, windows[..., 1:].flatten(), reduction="none")
    return losses.view(members, -1).mean(dim=1)


def noise(members: list[Regularizers], step: int = 0, rows: slice = slice(0, 4), sequences: int = 4) -> StepNoise:
    return StepNoise(members, range(len(members)), step, rows, sequences, "cpu")


def test_values_and_gradients_are_those_of_the_plain_model_with_the_same_masks():
    model = Transformer(SHAPE, 16, [0, 1], "cpu")
    assert isinstance(model.weights, UnshardedWeights)
    windows = torch.randint(12, (2, 4, 17), generator=torch.Generator().manual_seed(0))
    members = [ALL, replace(ALL, dropout=0.0, stochastic_depth=0.0)]
    ours, plain = model.losses(windows, noise(members)), plain_losses(model, windows, noise(members))
    assert torch.allclose(ours, plain, atol=1e-6)
    leaves = list(model.weights.parameters.values())
    for one, other in zip(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(plain.sum(), leaves), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-5)


def test_without_rates_masks_change_nothing():
    model = Transformer(SHAPE, 16, [0], "cpu")
    windows = torch.randint(12, (1, 4, 17), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.losses(windows, noise([NONE])), model.losses(windows), atol=1e-6)


def test_label_smoothing_is_that_of_pytorch():
    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(2, 50, 12, generator=generator), torch.randint(12, (2, 50), generator=generator)
    found = smoothed_losses(logits, targets, torch.tensor([0.0, 0.3]))
    expected = [F.cross_entropy(logits[i], targets[i], label_smoothing=rate) for i, rate in enumerate((0.0, 0.3))]
    assert torch.allclose(found, torch.stack(expected), atol=1e-6)


def test_masks_keep_the_mean_and_leave_out_at_their_rates():
    rates = Regularizers(dropout=0.25, stochastic_depth=0.5)
    ones = torch.ones(1, 4000 * 2, 3)
    kept = noise([rates], rows=slice(0, 4000), sequences=4000).residual(ones, 1, 2).view(4000, 6)
    assert kept.mean().item() == pytest.approx(1, abs=0.06)
    whole = (kept == 0).all(dim=1).double().mean().item()
    assert whole == pytest.approx(0.5, abs=0.03)  # the last block at the full rate, the first at half of it
    assert rates.layer_rate(0, 2) == 0.25
    inside = kept[(kept != 0).any(dim=1)]
    assert (inside == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert inside.unique().tolist() == pytest.approx([0, 1 / 0.75 / 0.5])


def test_attention_weights_are_left_out_at_each_members_rate_and_the_others_made_up_for() -> None:
    members = [Regularizers(attention_dropout=0.3), NONE]
    dropped, whole = noise(members, rows=slice(0, 500), sequences=500).attention(torch.ones(1000, 2, 4, 4)).chunk(2)
    assert (dropped == 0).double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert torch.equal(whole, torch.ones(500, 2, 4, 4))


@pytest.mark.heavy
def test_a_member_has_the_masks_of_its_seed_and_step_whatever_trains_beside_it(budget):
    members = [replace(MEMBER, regularizers=ALL), replace(MEMBER, seed=1, regularizers=Regularizers(dropout=0.5))]
    together = trained([*members, replace(MEMBER, seed=2)], budget)
    for row, member in enumerate([*members, replace(MEMBER, seed=2)]):
        assert torch.allclose(flat(together)[row], flat(trained([member], budget))[0], atol=2e-3)
    assert torch.allclose(flat(trained(members[:1], budget, divisor=4)), flat(trained(members[:1], budget)), atol=2e-3)
    assert not torch.allclose(flat(trained([MEMBER], budget))[0], flat(together)[0], atol=2e-2)


@pytest.mark.heavy
def test_a_resumed_member_goes_on_with_the_same_masks(budget):
    member = replace(MEMBER, regularizers=ALL)
    whole, half = trained([member], budget), trained([member], budget, until=5)
    state = half.state()
    assert state is not None
    resumed = Stack([member], RECIPE, budget, TrainingDevice("cpu"))
    resumed.resume(state)
    resumed.advance(12)
    assert torch.equal(flat(resumed), flat(whole))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "stochastic_depth", "label_smoothing"])
def test_each_regularizer_is_a_knob_that_older_ids_do_not_have(name, tmp_path: Path):
    workload = LanguageModel.of("", {})
    small: dict[str, Any] = {"corpus": "markov:states=12,tokens=65536", "context": 16, "unique_tokens": 1024}
    small |= {"width": 16, "validation_tokens": 512}

    def spec(**values: Any) -> TrialSpec:
        return TrialSpec.of(workload.name, workload.knobs, workload.resolve({**small, **values}))

    losses = []
    for one in (spec(), spec(**{name: 0.3})):
        *_, outcome = workload.run([one], Context("cpu", tmp_path))
        assert isinstance(outcome, Outcome)
        losses.append(outcome.metrics["val_loss"])
    assert losses[0] != losses[1]
    assert spec(**{name: 0.0}).trial_id == spec().trial_id != spec(**{name: 0.3}).trial_id
