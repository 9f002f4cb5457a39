"""Ensembles of every subset of members: equal to one at a time, and bound by their members."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.evaluation import normalizers
from sweeplaw.trials.training.evaluation.combination import subset_losses
from sweeplaw.trials.training.evaluation.subsets import ALL_OF, SAMPLED, by_size, chosen, indices, mask, nested, sizes
from sweeplaw.trials.training.model import token_losses
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.language_model import LanguageModel

WORKLOAD = LanguageModel.of("", {})
SMALL = {
    "corpus": "markov:states=12,spread=1.5,tokens=65536",
    "context": 16,
    "unique_tokens": 2048,
    "width": 16,
    "validation_tokens": 1024,
    "lr": 1e-2,
}


def drawn(members: int, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(members)
    logits = scale * torch.randn(members, 3, 5, 11, generator=generator, dtype=dtype)
    return logits, torch.randint(11, (3, 5), generator=generator)


def metrics_of(tmp_path: Path, **values: object) -> dict[str, Any]:
    spec = TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**SMALL, **values}))
    *_, last = WORKLOAD.run([spec], Context("cpu", tmp_path))
    assert isinstance(last, Outcome)
    return dict(last.metrics)


@pytest.mark.parametrize("members", [2, 3, 5, 8])
def test_every_subset_has_the_loss_of_its_own_mean_logits(members):
    logits, targets = drawn(members)
    subsets = chosen(members)
    assert len(subsets) == 2**members - 1
    losses = subset_losses(logits, targets, subsets)
    for subset, loss in zip(subsets, losses, strict=True):
        mean = logits[indices(subset)].mean(dim=0)
        expected = F.cross_entropy(mean.flatten(0, 1), targets.flatten(), reduction="none")
        tolerance = 3e-6 if subset.bit_count() == 1 else 1e-12  # a single member has the 32 bits of a run of its own
        assert torch.allclose(loss, expected.to(loss), atol=tolerance, rtol=0)


def test_averaged_logits_are_the_normalized_geometric_mean_of_the_distributions():
    logits, targets = drawn(4)
    geometric = logits.softmax(dim=-1).log().mean(dim=0).exp()
    expected = -(geometric / geometric.sum(dim=-1, keepdim=True)).gather(-1, targets[..., None]).log().flatten()
    assert torch.allclose(subset_losses(logits, targets, [nested(4)])[0], expected.to(torch.float64), atol=1e-12)


def test_averaged_probabilities_are_the_arithmetic_mean():
    logits, targets = drawn(4)
    losses = subset_losses(logits, targets, chosen(4), "probabilities")
    for subset, loss in zip(chosen(4), losses, strict=True):
        mean = logits[indices(subset)].softmax(dim=-1).mean(dim=0)
        assert torch.allclose(loss.double(), -mean.gather(-1, targets[..., None]).log().flatten(), atol=2e-6)


@pytest.mark.parametrize("members", [5, 6])
def test_tokens_taken_in_parts_have_the_losses_of_all_at_once(monkeypatch, members):
    logits, targets = drawn(members)
    whole = subset_losses(logits, targets, chosen(members))
    monkeypatch.setitem(normalizers.HELD_VALUES, "cpu", 6 * 11 * 32)  # 15 tokens in parts of at most 6
    assert torch.allclose(subset_losses(logits, targets, chosen(members)), whole, atol=1e-12, rtol=0)


def test_probabilities_below_the_range_of_numbers_are_averaged_exactly():
    logits = torch.tensor([[[[0.0, 500.0]]], [[[0.0, 510.0]]], [[[9.0, 0.0]]]])
    losses = subset_losses(logits, torch.zeros(1, 1, dtype=torch.long), chosen(3), "probabilities")
    of_two = 500 + math.log(2 / (1 + math.exp(-10)))  # the first two, each with less than e^-499
    assert losses[3].item() == pytest.approx(of_two, abs=1e-4)
    assert losses[6].item() == pytest.approx(math.log(3) + math.log1p(math.exp(-9)), abs=1e-6)


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_an_ensemble_is_at_every_token_at_most_the_mean_of_its_members(combine, scale):
    logits, targets = drawn(6, scale)
    single = token_losses(logits, targets.expand(6, -1, -1)).double()
    for subset, loss in zip(chosen(6), subset_losses(logits, targets, chosen(6), combine), strict=True):
        assert (loss <= single[indices(subset)].mean(dim=0) + 1e-5 * scale).all()


def test_members_that_disagree_beyond_the_range_of_numbers_are_combined_exactly():
    logits = torch.full((6, 1, 1, 6), -1000.0)
    for member in range(6):
        logits[member, 0, 0, member] = 1000.0
    losses = subset_losses(logits, torch.zeros(1, 1, dtype=torch.long), chosen(6))
    for subset, (loss,) in zip(chosen(6), losses, strict=True):
        mean = logits[indices(subset), 0, 0].mean(dim=0)
        assert loss.item() == pytest.approx(F.cross_entropy(mean, torch.tensor(0)).item(), abs=2e-4)  # digits of 1000


def test_a_single_member_has_its_own_loss_to_the_bit():
    logits, targets = drawn(5, dtype=torch.float32)
    for combine in ("logits", "probabilities"):
        losses = subset_losses(logits, targets, chosen(5), combine)
        assert torch.equal(losses[:5], token_losses(logits, targets.expand(5, -1, -1)))


def test_more_members_than_can_be_taken_in_every_way_are_sampled():
    assert sizes(12) == [*range(1, ALL_OF + 1), 12]
    found = chosen(12)
    assert found == chosen(12)
    assert len(found) == len(set(found))
    for size in sizes(12):
        own = [subset for subset in found if subset.bit_count() == size]
        assert nested(size) in own
        assert len(own) == {1: 12, 12: 1}.get(size, len(own))
        assert len(own) <= SAMPLED + 1
    logits, targets = drawn(12)
    losses = subset_losses(logits, targets, found)
    mean = logits[indices(found[40])].mean(dim=0)
    expected = F.cross_entropy(mean.flatten(0, 1), targets.flatten(), reduction="none")
    assert torch.allclose(losses[40].double(), expected, atol=1e-12)
    assert len(by_size(found, losses.mean(dim=1).tolist(), 12)) == ALL_OF


def test_masks():
    assert (mask([0, 3]), indices(9), nested(3)) == (9, [0, 3], 7)


@pytest.mark.heavy
def test_an_ensemble_trial_has_the_losses_of_its_smaller_ensembles(tmp_path):
    metrics = metrics_of(tmp_path, members=4, seed=3)
    alone = [metrics_of(tmp_path, seed=3 + i)["val_loss"] for i in range(4)]
    assert metrics["nested_loss_1"] == pytest.approx(alone[0], abs=1e-6)
    assert metrics["ensemble_loss_1"] == pytest.approx(metrics["member_loss"], abs=1e-7)
    assert metrics["ensemble_loss_1"] == pytest.approx(sum(alone) / 4, abs=1e-6)
    assert metrics["ensemble_loss_4"] == metrics["nested_loss_4"] == metrics["val_loss"]
    pairs = {(i, j): metrics_of(tmp_path, members=2, seed=3 + i) for i, j in [(0, 1), (1, 2), (2, 3)]}
    assert metrics["nested_loss_2"] == pytest.approx(pairs[0, 1]["val_loss"], abs=1e-6)
    falling = [metrics[f"ensemble_loss_{k}"] for k in range(1, 5)]
    assert falling == sorted(falling, reverse=True)
    assert not {name for name in metrics_of(tmp_path) if "_loss_" in name}


@pytest.mark.heavy
def test_members_may_differ_in_initialization_only_in_data_order_only_or_in_both(tmp_path):
    alone = metrics_of(tmp_path, seed=7)
    same = metrics_of(tmp_path, seed=1, init_seed=7, data_seed=7)
    assert (same["val_loss"], same["train_loss"]) == (
        alone["val_loss"],
        alone["train_loss"],
    )
    kinds = [{}, {"data_seed": 0}, {"init_seed": 0}]
    both, initialization, order = (metrics_of(tmp_path, members=3, **kind) for kind in kinds)
    assert len({found["val_loss"] for found in (both, initialization, order)}) == 3
    for found in (both, initialization, order):
        assert found["nested_loss_1"] == pytest.approx(both["nested_loss_1"], abs=1e-7)  # seed 0 has both seeds 0
        assert found["val_loss"] < found["member_loss"] - 1e-3
    twins = metrics_of(tmp_path, members=2, init_seed=0, data_seed=0)
    assert twins["val_loss"] == pytest.approx(twins["member_loss"], abs=1e-6)


def test_the_seeds_of_older_trials_are_no_part_of_their_ids():
    old, new = (
        TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**SMALL, **values}))
        for values in ({}, {"init_seed": -1, "data_seed": -1})
    )
    assert old.trial_id == new.trial_id
    assert not {"init_seed", "data_seed"} & set(json.loads(old.canonical())["knobs"])
