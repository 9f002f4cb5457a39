"""Stores of launches, finished and under way, for tests of live views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.facts import launch_facts
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import Row

SWEEP = """
name = "live"
workload = "surrogate"
seeds = 2
[scientific]
params = { log = [1e7, 1e9], num = 4 }
tokens = { log = [1e9, 1e11], num = 3 }
[nuisance]
lr = { log = [3e-4, 3e-2], num = 4 }
batch_sequences = { log = [128, 2048], num = 3 }
[fixed]
noise = 0.002
"""


class Silent:
    """Observer of a launch that ignores everything."""

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None:
        pass

    def recorded(self, rows: Sequence[Row]) -> None:
        pass


def launched(path: Path, text: str = SWEEP) -> Store:
    """Return a store in which the sweep has run."""
    launch(plan(parse(text)), Store.open(path, create=True), profile.load("inline"), Silent())
    return Store.open(path)


def partly_run(path: Path, share: float, text: str = SWEEP) -> Store:
    """Return a store in which a launch of the whole sweep has recorded only a share of the groups, point by point."""
    whole = plan(parse(text))
    by_point = sorted(whole.groups, key=lambda group: (group.cost.params or 0, group.cost.tokens or 0))
    kept = by_point[: round(share * len(by_point))]
    ids = {trial_id for group in kept for trial_id in group.ids}
    store = Store.open(path, create=True)
    launch(whole.only(ids), store, profile.load("inline"), Silent())
    store.add_launch("99990101T000000-whole", launch_facts(whole, profile.load("inline")), whole.ids)
    return Store.open(path)
