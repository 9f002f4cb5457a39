"""What a sweep that searches would do, in numbers, before anything runs."""

from __future__ import annotations

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import History
from sweeplaw.orchestrator.search.preview import FIRST, preview
from sweeplaw.orchestrator.search.space import Space

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
