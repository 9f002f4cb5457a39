"""The trials that a launch of the same sweeps would run now, counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import polars as pl

from sweeplaw.analysis.tables.launches import launches
from sweeplaw.orchestrator.launch.retries import due_for_retry
from sweeplaw.orchestrator.plan.limits import Retry
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import UNFINISHED

NO_TRIALS = pl.DataFrame(schema={"trial_id": pl.String})

Plans = Mapping[str, pl.DataFrame]  # launch_id -> the trials it planned (trial_id)


def relaunch_reasons(
    store: Store, plans: Plans, *, own: pl.DataFrame, final: pl.DataFrame, waiting: pl.DataFrame, taken: set[str]
) -> dict[str, int]:
    """Return reason -> number of trials.

    ``own`` are the latest outcomes of our own attempts, ``final`` the final ones of all rows, ``waiting`` the planned
    trials without a final outcome that no launch holds, ``taken`` the trials that a living launch holds.
    """
    unfinished = own.filter(~pl.col("final"), ~pl.col("trial_id").is_in(list(taken))).select("trial_id", "state")
    reasons = Counter({"not run yet": waiting.join(unfinished, on="trial_id", how="anti").height})
    reasons.update(_reason(state) for state in unfinished["state"])
    reasons["retry policy"] = len(_due_for_retry(store, plans, final))
    return {reason: count for reason, count in sorted(reasons.items()) if count}


def _reason(state: str) -> str:
    """Return why a trial in this state, whose latest outcome is not final, would run."""
    return state if state in UNFINISHED else "asked to run again"


def _due_for_retry(store: Store, plans: Plans, final: pl.DataFrame) -> set[str]:
    """Return the finished trials that the retry policy of their sweep's latest launch gives another attempt."""
    policies: dict[str, Retry] = {}
    trials: dict[str, list[pl.DataFrame]] = {}
    faults: list[str] = []
    for facts in launches(store.location, faults):  # oldest first
        if "sweep" not in facts:  # an import
            continue
        launch_id = facts.get("launch_id", "")
        if "retry" in facts:
            try:
                policies[facts["sweep"]] = Retry.model_validate(facts["retry"])
            except ValueError:
                faults.append(f"launches/{launch_id}.json: retry = {facts['retry']} is no retry policy")
        trials.setdefault(facts["sweep"], [NO_TRIALS]).append(plans.get(launch_id, NO_TRIALS))
    store.report(faults)
    found = set[str]()
    for sweep, policy in policies.items():
        ended = final.filter(pl.col("state").is_in(list(policy.by_state())))
        ours = dict(ended.join(pl.concat(trials[sweep]), on="trial_id", how="semi").select("trial_id", "state").rows())
        found.update(due_for_retry(store, policy, ours, ours))
    return found
