"""Names of kept models on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sweeplaw.trials.errors import InputError, gathered

if TYPE_CHECKING:
    from sweeplaw.orchestrator.store.store import Store


def complete(store: Store, name: str) -> str:
    """Return the name of a model, ``TRIAL_ID[:MEMBER][@STEP]``, with the whole id of its trial. Raise InputError."""
    from sweeplaw.orchestrator.monitor.trial_view import find

    ends = [index for mark in ":@" if (index := name.find(mark)) >= 0]
    end = min(ends, default=len(name))
    return find(store, name[:end]) + name[end:]


def checked(store: Store, names: Sequence[str], others: Mapping[str, Callable[[], Any]]) -> list[str]:
    """Return the names of kept models with the whole ids of their trials, if nothing that ``others`` check is wrong.

    Raise InputError with every fault of the others and of the models: no such trial, no weights, damaged ones. Weights
    are read as a whole only if there is a fault; whoever uses them reads them anyway.
    """

    def gather(*, whole: bool) -> dict[str, Any]:
        return gathered({**{f"--trial {name}": partial(_model, store, name, whole) for name in names}, **others})

    try:
        found = gather(whole=False)
    except InputError:
        gather(whole=True)
        raise
    return [found[f"--trial {name}"] for name in names]


def _model(store: Store, name: str, whole: bool) -> str:
    from sweeplaw.trials.kept.members import MemberName
    from sweeplaw.trials.store_format import kept_weights
    from sweeplaw.trials.workloads.ensemble.specs import expanded

    full = complete(store, name)
    expanded(store.location.uri, [full])
    if whole:
        kept_weights.verify(store.location, [MemberName.of(full).kept])
    return full
