"""A launch of surrogate trials that sleep, with the times when their rows became durable, for benchmarks of rates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.orchestrator.launch import launch as launching
from sweeplaw.orchestrator.launch.recorder import LaunchObserver
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse as parse_sweep
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import Row, TrialRecord

TOKENS = 4 * 32 * 256  # four steps of the surrogate's batch: each curve point a quarter of the way


def two_slots() -> Profile:
    """A private Ray of two cores, whatever the machine has."""
    return parse({"kind": "local", "cpus": 2}, name="two slots")


def sweep(trials: int, seconds: float = 0.0, sizes: int = 1) -> str:
    """The file of a sweep of ``trials`` over ``sizes`` sizes of model; each reports four curve points and sleeps."""
    each, rest = divmod(trials, sizes)
    if rest:
        raise SystemExit(f"{trials} trials over {sizes} sizes leave a remainder of {rest}")
    sizes_of = ", ".join(str(10**6 + size) for size in range(sizes))
    return f"""name = "rate"
workload = "surrogate"
seeds = {each}
[scientific]
params = [{sizes_of}]
tokens = [{TOKENS}]
[fixed]
seconds = {seconds}
"""


@dataclass
class Stamps:
    """A watcher that notes how many outcomes were durable when: (seconds since the slots were there, outcomes)."""

    durable: list[tuple[float, int]] = field(default_factory=list)
    slots: int = 0
    _began: float = 0.0

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None:
        """The cluster is there."""
        self.slots = cluster.slots
        self._began = time.perf_counter()

    def recorded(self, rows: Sequence[Row]) -> None:
        """These rows are durable."""
        outcomes = sum(isinstance(row, TrialRecord) for row in rows)
        if outcomes:
            before = self.durable[-1][1] if self.durable else 0
            self.durable.append((time.perf_counter() - self._began, before + outcomes))

    @property
    def rate(self) -> float:
        """Durable outcomes a second once started: from the first that were recorded to the last."""
        (first, some), (last, every) = self.durable[0], self.durable[-1]
        return (every - some) / (last - first)


def launch(text: str, store: Path | str, profile: Profile, watcher: LaunchObserver) -> launching.Launched:
    """Launch the sweep of this text as the command does."""
    return launching.launch(plan(parse_sweep(text)), Store.open(store, create=True), profile, watcher)
