"""Exclusions: trials that a user has taken out of a store's data, with the reason, and what was restored since.

One small file for each decision, `exclusions/<time>-<hex>.json`, which never changes:

    {"at": …, "after": […], "reason": "…", "trial_ids": […]}             these trials are no data
    {"at": …, "after": […], "undoes": ["<name>", …], "trial_ids": […]}   for these trials, those files count no longer

Which trials are excluded depends on no clock, because a later decision names those that it undoes. It also names the
latest ones there were, so that each but the last is missed when it is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.damage import parsed_all
from sweeplaw.trials.store_format.location import Location

FOLDER = "exclusions"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The trials that the file ``name`` excludes and that are not restored. ``removed``: by an import, which may add
    them again."""

    name: str
    reason: str
    trial_ids: frozenset[str]
    removed: bool


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The exclusions in force, oldest first, and sentences about damaged or missing files, whose content is not
    applied. ``latest`` are the names of the decisions that no other one names as an earlier one.
    """

    active: tuple[Exclusion, ...] = ()
    faults: tuple[str, ...] = ()
    latest: tuple[str, ...] = ()

    @property
    def reasons(self) -> Mapping[str, str]:
        """Trial id -> reason, of every excluded trial; of several reasons the last."""
        return {trial_id: found.reason for found in self.active for trial_id in found.trial_ids}

    @property
    def removed(self) -> frozenset[str]:
        """The trials that only an import has removed."""
        by_import = _trials(found for found in self.active if found.removed)
        return by_import - _trials(found for found in self.active if not found.removed)

    def of(self, trial_ids: Collection[str]) -> list[str]:
        """Return the names of the exclusions of these trials."""
        return [found.name for found in self.active if not found.trial_ids.isdisjoint(trial_ids)]


@dataclass(frozen=True, slots=True)
class _Decision:
    """The content of a file: either a ``reason`` or what it ``undoes``."""

    trial_ids: frozenset[str]
    reason: str | None
    undoes: frozenset[str]
    removed: bool
    after: frozenset[str]


def exclusions(location: Location) -> Exclusions:
    """Return which trials of the store are excluded. Raise OSError if it cannot be reached."""
    faults: list[str] = []
    decisions = parsed_all(location, FOLDER, _decision, faults)
    undone: dict[str, frozenset[str]] = {}
    for decision in decisions.values():
        for name in decision.undoes:
            undone[name] = undone.get(name, frozenset()) | decision.trial_ids
    active = (
        Exclusion(name, decision.reason, decision.trial_ids - undone.get(name, frozenset()), decision.removed)
        for name, decision in decisions.items()
        if decision.reason is not None
    )
    earlier = frozenset[str]().union(*(decision.after for decision in decisions.values()))
    there = {*decisions, *location.names(FOLDER, ".json")}
    faults += [f"{FOLDER}/{name}.json is missing" for name in sorted(earlier - there)]
    notes = tuple(f"{fault}; the trials that it excludes or restores are not" for fault in faults)
    return Exclusions(tuple(found for found in active if found.trial_ids), notes, tuple(sorted(there - earlier)))


def _decision(content: Mapping[str, Any]) -> _Decision:
    reason, undoes = content.get("reason"), content.get("undoes")
    if (undoes is None) == (reason is None) or not isinstance(reason, str | None):
        raise ValueError('it needs either a text "reason" or a list "undoes"')
    (reason or "").encode()  # raises ValueError for lone surrogates, which no output could hold
    undone = _texts(undoes) if undoes is not None else frozenset[str]()
    after = frozenset(map(confined.bare, _texts(content.get("after", []))))
    return _Decision(_texts(content["trial_ids"]), reason, undone, content.get("removed") is True, after)


def _texts(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("expected a list of texts")
    return frozenset(value)


def _trials(found: Iterable[Exclusion]) -> frozenset[str]:
    return frozenset[str]().union(*(item.trial_ids for item in found))
