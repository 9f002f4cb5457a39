"""Names of kept models on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeplaw.orchestrator.store.store import Store


def complete(store: Store, name: str) -> str:
    """Return the name of a model, ``TRIAL_ID[:MEMBER][@STEP]``, with the whole id of its trial. Raise InputError."""
    from sweeplaw.orchestrator.monitor.trial_view import find

    ends = [index for mark in ":@" if (index := name.find(mark)) >= 0]
    end = min(ends, default=len(name))
    return find(store, name[:end]) + name[end:]
