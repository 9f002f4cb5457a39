"""What a sweep that searches would do, in numbers, before anything runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import History, Observation, RemainingBudget
from sweeplaw.orchestrator.search.ledger import Ledger
from sweeplaw.orchestrator.search.preview import FIRST, left, preview, recommended
from sweeplaw.orchestrator.search.space import Candidate, Space

SWEEP = """
name = "local"
workload = "surrogate"
[search]
kind = "local"
[budget]
trials = 40
[scientific]
params = [1e6, 1e7]
tokens = [1e9, 1e10]
[nuisance]
lr = [1e-3, 1e-2, 1e-1]
batch_sequences = [16, 32]
"""


def test_the_preview_of_a_finite_search_says_what_was_set_and_what_it_would_cost() -> None:
    space = Space(parse(SWEEP))
    found = preview(space, registry.load(space), History())
    assert found["search"]["kind"] == "local"
    assert None not in found["search"].values()
    assert found["budget"] == {"trials": 40}
    assert (found["points"], found["settings"], found["known"]) == (4, 4 * 6, 0)
    assert found["axes"] == {"lr": {"values": [1e-3, 1e-2, 1e-1]}, "batch_sequences": {"values": [16, 32]}}
    assert found["trials"] == [24, 24]  # no more than there are settings
    assert found["setting_flops"] == [6 * 1e6 * 1e9, 6 * 1e7 * 1e10]
    assert found["grid_flops"] == 6 * 6 * (1e6 + 1e7) * (1e9 + 1e10)
    assert 1 <= len(found["proposals"]) <= FIRST
    assert all(len(one["trial_ids"]) == 1 for one in found["proposals"])


CONDITIONAL = """
name = "mine"
seeds = 2
workload = { kind = "python:any:f", knobs = { momentum = 0.0, optimizer = "muon", lr = 0.1 } }
[search]
kind = "local"
start = { lr = 1e-2, optimizer = "muon" }
[scientific]
params = [1e6]
[nuisance]
lr = [1e-3, 1e-2, 1e-1]
optimizer = ["muon", "sgd"]
momentum = { list = [0.8, 0.9], when = "optimizer == 'sgd'" }
[fixed]
flops = 10
"""


def test_a_knob_whose_condition_does_not_hold_is_neither_proposed_nor_recommended(tmp_path: Path) -> None:
    (tmp_path / "any.py").write_text("def f(config): ...\n")
    space = Space(parse(CONDITIONAL, folder=tmp_path))
    search = registry.load(space)
    first = preview(space, search, History())["proposals"][0]
    assert (first["optimizer"], first["momentum"]) == ("muon", None)
    seen = Observation(space.candidates[0].setting, "completed", (1.0,), None, 0, 0, None, None, (), (), {})
    for momentum in (None, 0.8):
        setting = next(
            one.setting for one in space.candidates if space.active_knobs(one.setting)["momentum"] == momentum
        )
        (row,) = recommended(space, search, History([replace(seen, setting=setting)]))
        assert row["momentum"] == momentum
        assert ("momentum" in row["edges"], "momentum" in row["basis"]) == ((momentum is not None,) * 2)
        assert ("momentum" in space.describe(setting)) == (momentum is not None)


def test_a_row_needs_no_value_of_a_knob_whose_condition_does_not_hold(tmp_path: Path) -> None:
    """As of an imported run: another tool records no momentum where there is none."""
    (tmp_path / "any.py").write_text("def f(config): ...\n")
    space = Space(parse(CONDITIONAL, folder=tmp_path))
    row = {"params": 1e6, "lr": 1e-2, "optimizer": "muon", "momentum": None}
    setting = space.setting_of(row)
    assert setting is not None
    assert setting == space.setting_of({**row, "momentum": 0.9})
    assert space.active_knobs(setting) == row
    assert space.setting_of({**row, "optimizer": "sgd"}) is None
    assert space.setting_of({**row, "lr": None}) is None


def test_the_cost_of_a_budget_lies_between_its_trials_at_the_cheapest_and_at_the_most_expensive_settings() -> None:
    text = SWEEP.replace("trials = 40", "trials = 3")
    grid = sorted(6 * n * d for n in (1e6, 1e7) for d in (1e9, 1e10) for _ in range(6))

    def flops(content: str) -> list[float]:
        space = Space(parse(content))
        return preview(space, registry.load(space), History())["flops"]

    assert flops(text) == [sum(grid[:3]), sum(grid[-3:])]
    assert flops(text.replace("trials = 3", "flops = 1.5e18"))[1] == 1.5e18
    assert flops(text + "[search.early_stopping]\n") == [0.0, sum(grid[-3:])]


ZIPPED = """
name = "zipped"
workload = { kind = "python:any:f", knobs = { lr = 0.1, batch = 1, kind = "" } }
[search]
kind = "law"
[budget]
trials = 90
[scientific]
params = [1e6, 1e7]
[nuisance]
lr = { log = [1e-3, 1e-1], num = 5 }
[[zip]]
role = "nuisance"
batch = [16, 32, 64]
kind = ["small", "medium", "large"]
[fixed]
flops = 10
"""


def test_an_interval_of_knobs_that_move_together_is_in_their_own_values(tmp_path: Path) -> None:
    (tmp_path / "any.py").write_text("def f(config): ...\n")
    space = Space(parse(ZIPPED, folder=tmp_path))

    def loss(candidate: Candidate) -> float:
        knobs = space.knobs(candidate.setting)
        return 3 + math.log10(float(knobs["lr"]) / 1e-2) ** 2 + math.log2(float(knobs["batch"]) / 32) ** 2

    seen = [
        Observation(one.setting, "completed", (loss(one),), 10.0, n, n, None, None, (), one.ids, {})
        for n, one in enumerate(space.candidates)
    ]
    for row in recommended(space, registry.load(space), History(seen)):
        assert (row["lr"], row["batch"], row["kind"]) == (pytest.approx(1e-2), 32, "medium")
        assert row["intervals"].keys() == {"lr", "batch"}
        low, high = row["intervals"]["batch"]
        assert (low, high) in {(32.0, 32.0), (16.0, 32.0), (32.0, 64.0), (16.0, 64.0)}


def test_imported_runs_are_known_and_use_none_of_the_budget() -> None:
    sweep = parse(SWEEP.replace("trials = 40", "trials = 2"))
    space = Space(sweep)
    known = Ledger(space, registry.objective(sweep))
    for n, one in enumerate(space.candidates[:3]):
        known.add({**space.knobs(one.setting), "trial_id": f"import-{n}", "state": "completed", "val_loss": 3.0})
    known.add({"trial_id": "far", "state": "completed", "val_loss": 3.0, "params": 5.0})
    history = known.history(RemainingBudget())
    history = replace(history, left=left(sweep.budget, history, known.trials))
    assert (history.left.trials, known.foreign) == (2, 1)
    found = preview(space, registry.load(space), history)
    assert found["known"] == 3
    assert found["proposals"]
