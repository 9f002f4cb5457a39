"""The sweeps that come with sweeplaw are what their sources say.

Source of the models and of the settings: Kim et al. 2025, "Pre-training under infinite compute" (arXiv:2509.14786).
"""

from __future__ import annotations

from typing import Any

import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import SweepSpec, read
from sweeplaw.orchestrator.search.registry import check
from tests.paths import ROOT

FOLDER = ROOT / "orchestrator/sweeps/data_constrained"
BUDGETS = [209_715_200, 419_430_400, 838_860_800, 1_677_721_600]
# Best single models: epochs, learning rate and weight decay at 150M, 300M, 600M and 1.4B, by budget.
SINGLE = [
    [(16, 3e-3, 0.8), (16, 3e-3, 1.6), (8, 1e-3, 3.2), (8, 1e-3, 3.2)],
    [(32, 3e-3, 0.8), (16, 3e-3, 0.8), (8, 1e-3, 1.6), (8, 1e-3, 3.2)],
    [(64, 3e-3, 0.4), (16, 3e-3, 0.4), (16, 3e-3, 0.4), (8, 1e-3, 1.6)],
    [(64, 3e-3, 0.1), (32, 1e-3, 0.4), (16, 1e-3, 0.8), (8, 1e-3, 0.8)],
]


def axis(sweep: SweepSpec, name: str) -> list[Any]:
    """The values of a knob on its axis."""
    (found,) = [one for one in sweep.axes if name in one.names]
    return [row[found.names.index(name)] for row in found.values]


def test_members_have_twice_the_epochs_and_half_the_decay_of_the_best_single_model() -> None:
    sweep = read(FOLDER / "ensemble.toml")
    expected = [(2 * epochs, lr, decay / 2) for row in SINGLE for epochs, lr, decay in row]
    expected[12] = (128, 3e-3, 0.1)  # the decay is never below that of the standard recipe
    found = list(zip(*(axis(sweep, name) for name in ("epochs", "lr", "weight_decay")), strict=True))
    assert found == expected
    assert axis(sweep, "unique_tokens") == [budget for budget in BUDGETS for _ in range(4)]
    assert sweep.fixed["members"] == 5


def test_the_models_have_their_published_sizes() -> None:
    groups = plan(read(FOLDER / "ensemble.toml")).groups
    assert {group.cost.params for group in groups} >= {154_147_328, 299_649_792}


@pytest.mark.parametrize("edition", [".", "cpu"])
@pytest.mark.parametrize("recipe", ["standard", "regularized"])
def test_recipes_differ_in_what_they_tune_alone(edition: str, recipe: str) -> None:
    sweep = read(FOLDER / edition / f"{recipe}.toml")
    check(sweep)
    tuned = {"standard": ("epochs", "lr"), "regularized": ("epochs", "lr", "weight_decay")}
    assert sweep.names("nuisance") == tuned[recipe]
    other = read(FOLDER / edition / "standard.toml")
    assert sweep.names("scientific") == other.names("scientific")
    assert {**sweep.fixed, "weight_decay": 0.1} == dict(other.fixed)
    assert axis(sweep, "epochs") == axis(other, "epochs")
