"""The id of a launch, the facts a store keeps about it, and what must agree with the facts of earlier launches."""

from __future__ import annotations

import secrets
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sweeplaw.analysis.tables.launches import later_defaults, launches, owner
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker.provenance import commit, versions
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Value, later_knobs

MOST_POINTS = 2000
_SCALES = ("params", "params_non_embedding", "tokens")


def new_launch_id(store: Store) -> str:
    """Return an id that sorts after the ids of all earlier launches."""
    return f"{store.next_time():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def launch_facts(plan: Plan, profile: Profile) -> dict[str, Any]:
    """Return what the store keeps about this launch: the sweep, the cluster, the command and the code."""
    sweep = plan.sweep
    return {
        "sweep": sweep.name,
        "description": sweep.description,
        "sweep_file": sweep.text,
        "workload": sweep.workload.name,
        "scientific": list(sweep.names("scientific")),
        "nuisance": [*sweep.names("nuisance"), *sweep.search.tunes],
        "fixed": dict(sweep.fixed),
        "derived": {name: formula.text for name, formula in sweep.derived.items()},
        "later_knobs": later_knobs(sweep.workload.knobs),
        "planned": plan.trials,
        "points": planned_points(plan),
        "dropped": dict(plan.dropped),
        "retry": sweep.retry.model_dump(),
        "budget": sweep.budget.model_dump(exclude_none=True),
        "cluster": profile.name or profile.kind,
        "host": socket.gethostname(),
        "command": sys.argv,
        "versions": versions(),
        "commit": commit(),
    }


def planned_points(plan: Plan) -> list[dict[str, Any]]:
    """Return the number of planned ``trials`` at each size and budget that is known before they run.

    None for a search, which proposes them, and none of more than `MOST_POINTS`.
    """
    counts: Counter[tuple[int | None, ...]] = Counter()
    for group in plan.groups:
        counts[tuple(getattr(group.cost, name) for name in _SCALES)] += len(group.ids)
    if len(counts) > MOST_POINTS:
        return []
    return [{**dict(zip(_SCALES, point, strict=True)), "trials": count} for point, count in counts.items()]


def check_defaults(sweep: SweepSpec, store: Store) -> None:
    """Raise InputError if a knob added later has another default than in an earlier launch into this store, or if
    damage hides which it had.

    The default is not part of an id, so trials at the old and at the new default would have the same ids.
    """
    current = later_knobs(sweep.workload.knobs)
    recorded = _recorded_defaults(store) if current else {}
    faults = []
    for name, default in current.items():
        earlier = recorded.get((name, *owner(sweep.workload.name, sweep.name)), {default})
        if earlier != {default}:
            seen = ", ".join(repr(value) for value in sorted(earlier - {default}, key=repr))
            before = f"earlier launches into {store.location.uri} had {seen}"
            why = "trials at these defaults would share their ids; restore it and sweep over the new value"
            faults.append(f"knob {name!r} has the default {default!r}, but {before}: {why}")
    if faults:
        raise InputError("\n".join(faults))


def _recorded_defaults(store: Store) -> Mapping[tuple[str, str, str | None], set[Value]]:
    faults: list[str] = []
    recorded = later_defaults(launches(store.location, faults))
    if faults:
        why = "with which defaults of later knobs that launch ran is not known; repair the file, or remove it"
        raise InputError([f"{fault}: {why}" for fault in faults], where=store.location.uri)
    return recorded
