"""The id of a launch and the facts a store keeps about it."""

from __future__ import annotations

import secrets
import socket
import sys
from typing import Any

from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker.provenance import commit, versions
from sweeplaw.trials.spec import later_knobs


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
        "nuisance": list(sweep.names("nuisance")),
        "derived": {name: formula.text for name, formula in sweep.derived.items()},
        "later_knobs": later_knobs(sweep.workload.knobs),
        "planned": plan.trials,
        "dropped": dict(plan.dropped),
        "retry": sweep.retry.model_dump(),
        "budget": sweep.budget.model_dump(exclude_none=True),
        "cluster": profile.name or profile.kind,
        "host": socket.gethostname(),
        "command": sys.argv,
        "versions": versions(),
        "commit": commit(),
    }
