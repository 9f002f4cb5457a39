"""Shares of one node: what fits, on which GPUs, and how often."""

from __future__ import annotations

import pytest

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.node_shares import NodeShare, allot, fitting_count, gpu_shares

WHOLE = NodeShare(8.0, (1.0, 1.0))


def test_shares_are_added_taken_away_and_compared_device_by_device() -> None:
    half = NodeShare(2.0, (0.5, 0.0))
    assert WHOLE.without(half) == NodeShare(6.0, (0.5, 1.0))
    assert WHOLE.without(half).plus(half) == WHOLE
    assert NodeShare(3.0, (0.25, 1.0)).least(half) == NodeShare(2.0, (0.25, 0.0))
    assert WHOLE.covers(WHOLE)
    assert WHOLE.covers(NodeShare(8.0 + 1e-7, (1.0, 1.0 + 1e-7))), "ten-thousandths are what Ray counts"
    for more in (NodeShare(8.01, (0.0, 0.0)), NodeShare(0.0, (1.01, 0.0)), NodeShare(0.0, (0.0, 1.01))):
        assert not WHOLE.covers(more)


@pytest.mark.parametrize(
    ("free", "size", "taken"),
    [
        (WHOLE, TrialResources(2, 0.25), NodeShare(2, (0.25, 0.0))),
        (NodeShare(8, (1.0, 0.5)), TrialResources(2, 0.25), NodeShare(2, (0.0, 0.25))),
        (NodeShare(8, (1.0, 0.2)), TrialResources(2, 0.25), NodeShare(2, (0.25, 0.0))),
        (NodeShare(8, (0.5, 0.5)), TrialResources(2, 1.0), None),
        (NodeShare(8, (0.5, 1.0)), TrialResources(2, 1.0), NodeShare(2, (0.0, 1.0))),
        (WHOLE, TrialResources(2, 2.0), NodeShare(2, (1.0, 1.0))),
        (WHOLE, TrialResources(2, 0.5, processes=3), NodeShare(6, (1.0, 0.5))),
        (WHOLE, TrialResources(2, 1.0, processes=4, nodes=2), NodeShare(4, (1.0, 1.0))),
        (WHOLE, TrialResources(8), NodeShare(8, (0.0, 0.0))),
        (WHOLE, TrialResources(9), None),
        (WHOLE, TrialResources(3, processes=3), None),
    ],
)
def test_a_trial_takes_the_fullest_gpus_that_still_fit_it(
    free: NodeShare, size: TrialResources, taken: NodeShare | None
) -> None:
    assert allot(free, size) == taken


def test_how_often_the_processes_of_a_node_fit() -> None:
    sizes = (TrialResources(1, 0.25), TrialResources(1, 0.4), TrialResources(3, 0.25), TrialResources(2))
    assert [fitting_count(WHOLE, size) for size in sizes] == [8, 4, 2, 4]
    assert gpu_shares(TrialResources(1, 0.5, processes=4, nodes=2)) == [0.5, 0.5]
    assert gpu_shares(TrialResources(1, 2.0, processes=2)) == [1.0] * 4
    assert gpu_shares(TrialResources(1)) == []
