"""Which process of a world serves the meeting point, and where: without other processes."""

from __future__ import annotations

from typing import Any

import pytest

from sweeplaw.trials.training import distributed
from sweeplaw.trials.training.distributed import Rendezvous
from sweeplaw.trials.workload import World


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_rank_0_alone_serves_the_address_that_all_meet_at(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Any] = []
    monkeypatch.setattr(distributed.dist, "TCPStore", lambda *given, timeout: met.extend([*given, timeout]))
    Rendezvous(World(rank, 3, "[::1]:2345"), "cpu")
    assert met == ["::1", 2345, 3, rank == 0, distributed.RENDEZVOUS_TIMEOUT]


def test_a_world_without_an_address_cannot_meet() -> None:
    with pytest.raises(ValueError, match="a world of 2 processes needs an address to meet at"):
        Rendezvous(World(0, 2), "cpu")
