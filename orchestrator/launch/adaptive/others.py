"""What other launches of a sweep run at the same time: the budget of its search counts it."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Collection, Mapping
from typing import Any

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.search.ledger import Ledger
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store import claims, clocks
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import UNFINISHED
from sweeplaw.trials.store_format.damage import DamagedFileError, parsed
from sweeplaw.trials.store_format.location import Location


class OtherLaunches:
    """The trials that other live launches of the sweep of ``space`` held at the last look, including those of launches
    whose sweep the store does not record.
    """

    def __init__(self, space: Space, ledger: Ledger, location: Location, launch_id: str) -> None:
        self.trials: frozenset[str] = frozenset()
        self.launches: tuple[str, ...] = ()
        self._space, self._ledger, self._location, self._launch_id = space, ledger, location, launch_id
        self._sweeps: dict[str, str] = {}

    def look(self, own: Collection[str]) -> bool:
        """Look again at what others hold beside the trials of ``own``; return whether it is anything."""
        others = [held for held in claims.leases(self._location) if held.launch_id != self._launch_id]
        now = clocks.store_time(self._location) if others else None
        alive = [held for held in others if now and held.alive(now) and self._of_sweep(held.launch_id)]
        self.launches = tuple(held.launch_id for held in alive if held.trials)
        self.trials = frozenset(trial for held in alive for trial in held.trials) - frozenset(own)
        return bool(self.trials)

    def sentence(self, own: Collection[str]) -> str:
        """Return that the search waits for what others run, with the launches that run it, and how to follow them."""
        self.look(own)
        names = f" ({', '.join(self.launches)})" if self.launches else ""
        return (
            f"it can propose nothing until trials that another launch runs{names} have ended: `sweeplaw status` of "
            "the store follows them; launch again then"
        )

    @property
    def unrecorded(self) -> int:
        """Number of their trials without a row."""
        return sum(not self._ledger.has(trial_id) for trial_id in self.trials)

    @property
    def flops(self) -> float:
        """FLOPs that their trials still need; a trial of unknown setting counts as the most expensive one."""
        return math.fsum(map(self._needed, self.trials))

    def _needed(self, trial_id: str) -> float:
        row = self._ledger.row(trial_id)
        flops = self._costs.get(trial_id, self._most_flops)
        if row is None:
            return flops
        return _rest(row) * flops if row["state"] in UNFINISHED else 0.0

    @functools.cached_property
    def _costs(self) -> Mapping[str, float]:
        """FLOPs of each trial of a space that can be listed."""
        if not self._space.finite:
            return {}
        with contextlib.suppress(InputError):  # too many to list
            candidates = self._space.candidates
            return {one: (item.flops or 0.0) / len(item.ids) for item in candidates for one in item.ids}
        return {}

    @functools.cached_property
    def _most_flops(self) -> float:
        """FLOPs of a trial at the most expensive scientific point."""
        groups: tuple[Group, ...] = self._space.examples
        return max((group.cost.flops or 0.0 for group in groups), default=0.0)

    def _of_sweep(self, launch_id: str) -> bool:
        """Return whether a launch is one of this sweep; True if the store does not record its sweep."""
        if launch_id not in self._sweeps:
            with contextlib.suppress(FileNotFoundError, DamagedFileError):
                self._sweeps[launch_id] = parsed(self._location, f"launches/{launch_id}.json", _sweep)
        return self._sweeps.get(launch_id, self._space.sweep.name) == self._space.sweep.name


def _sweep(content: Mapping[str, Any]) -> str:
    return str(content["sweep"])


def _rest(row: Mapping[str, Any]) -> float:
    """Return the share of its steps that a trial cut short has left."""
    steps = row.get("steps") or 0
    return 1 - min(row.get("last_step") or 0, steps) / steps if steps else 1.0
