"""Write exclusions: take trials out of a store's data, or restore them. Their rows stay as they are."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from sweeplaw.orchestrator.store import atomic
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.store_format.exclusions import FOLDER, exclusions


def exclude(store: Store, trial_ids: Collection[str], reason: str, *, removed: bool = False) -> None:
    """Exclude these trials; ``removed`` if an import may add them again. Raise OSError."""
    if trial_ids:
        _publish(store, {"reason": reason, **({"removed": True} if removed else {})}, trial_ids)


def restore(store: Store, trial_ids: Collection[str]) -> None:
    """Undo every exclusion of these trials. Raise OSError."""
    undone = exclusions(store.location).of(trial_ids)
    if undone:
        _publish(store, {"undoes": undone}, trial_ids)


def _publish(store: Store, decision: Mapping[str, Any], trial_ids: Collection[str]) -> None:
    now = dt.datetime.now(dt.UTC)
    after = exclusions(store.location).latest
    content = {"at": now.isoformat(), "after": after, **decision, "trial_ids": sorted(trial_ids)}
    atomic.publish_json(store.location, f"{FOLDER}/{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.json", content)
