"""The ledger of a search: from the rows of the trials table, in any order of arrival, to the history that it reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.search.contract import (
    History,
    Observation,
    Pending,
    Proposal,
    RemainingBudget,
    Setting,
    Status,
)
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.trials import changes
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import UNFINISHED, flops_done
from sweeplaw.trials.spec import Value

# Columns of the trials table that a ledger reads beside the axes and the objectives.
COLUMNS = (
    "trial_id",
    "state",
    "attempt",
    "launch_id",
    "sweep",
    "flops",
    "steps",
    "last_step",
    "search_number",
    "search_known",
    "search_setting",
)
_ENDED: Mapping[str, Status] = {
    "completed": "completed",
    "diverged": "diverged",
    "stopped": "stopped",
    "failed": "failed",
    "out_of_memory": "failed",
    "paused": "paused",
    "preempted": "paused",
    "budget": "paused",
}


@dataclass(frozen=True, slots=True)
class SearchObjective:
    """Metrics that a search minimizes; those in ``maximized`` with their sign turned."""

    metrics: tuple[str, ...]
    maximized: frozenset[str] = frozenset()

    def values(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """Return the objectives of a row, each to be minimized; empty if one is missing or not finite."""
        found = [row.get(name) for name in self.metrics]
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in found):
            return ()
        signs = [-1.0 if name in self.maximized else 1.0 for name in self.metrics]
        return tuple(sign * float(value) for sign, value in zip(signs, found, strict=True) if value is not None)


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A proposed setting, its trials that have not ended, and the number and knowledge of its proposal."""

    setting: Setting
    knobs: Mapping[str, Value]
    ids: tuple[str, ...]
    number: int
    known: int


@dataclass(slots=True)
class _Entry:
    """A setting that was proposed or run: its trials that are expected, and the rows of those that ended."""

    setting: Setting
    knobs: Mapping[str, Value]
    ids: tuple[str, ...]
    number: int | None = None
    known: int | None = None
    pending: bool = False
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    used: dict[str, float | None] = field(default_factory=dict)  # FLOPs by trial, of this sweep
    observation: Observation | None = None  # of its rows, once it was asked for


class Ledger:
    """Everything known of the settings of a space. ``foreign`` counts rows that are at no setting of it."""

    def __init__(self, space: Space, objective: SearchObjective) -> None:
        self.foreign = 0
        self._space, self._objective = space, objective
        self._entries: dict[tuple[Setting, str], _Entry] = {}
        self._of_trial: dict[str, _Entry] = {}
        self._curves: dict[str, dict[int, float]] = {}
        self._paused_at: dict[str, int] = {}
        self._number = 0
        self._ended: dict[int, _Entry] = {}  # those that are not pending, by `id`, in the order of their last rows
        self._pending: dict[int, _Entry] = {}
        self._observations: list[Observation] | None = None  # of the ended ones, until one changes
        self._used: dict[str, float | None] = {}  # FLOPs by trial, of this sweep
        self._spent: float | None = None  # their sum, until one changes

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of the trials table, the latest of its trial. An interrupted one ends nothing, or is a pause."""
        entry = self._of_trial.get(row["trial_id"]) or self._placed(row)
        if entry is None:
            self.foreign += 1
            return
        if row.get("search_number") is not None:
            entry.number, entry.known = row["search_number"], row.get("search_known")
            self._number = max(self._number, row["search_number"] + 1)
        if row.get("sweep") == self._space.sweep.name and row.get("launch_id") is not None:
            entry.used[row["trial_id"]] = self._used[row["trial_id"]] = flops_done(row, inherited(entry.knobs))
            self._spent = None
        search = self._space.sweep.search
        if row["state"] in UNFINISHED and not (search.pauses or search.early_stopping):
            return
        if _ENDED.get(row["state"]) == "paused":
            self._paused_at[row["trial_id"]] = row.get("last_step") or 0
        entry.rows[row["trial_id"]] = row
        entry.pending = not set(entry.ids) <= entry.rows.keys()
        self._changed(entry)

    def add_point(self, trial_id: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Add a point of the curve of a trial."""
        if values := SearchObjective(self._objective.metrics[:1], self._objective.maximized).values(metrics):
            self._curves.setdefault(trial_id, {})[step] = values[0]
            if entry := self._of_trial.get(trial_id):
                entry.observation = self._observations = None

    def proposed(self, proposal: Proposal, group: Group, known: int) -> int:
        """Note that these trials are about to run; return the number of the proposal."""
        entry = self._entry(proposal.setting, proposal.knobs, group.ids)
        entry.ids = group.ids
        entry.pending, entry.number, entry.known = True, self._number, known
        self._number += 1
        for trial_id in group.ids:
            entry.rows.pop(trial_id, None)
        self._changed(entry)
        return entry.number

    def held_elsewhere(self, setting: Setting, group: Group) -> None:
        """Note that another launch runs these trials."""
        entry = self._entry(setting, {}, group.ids)
        entry.ids, entry.pending = group.ids, True
        self._changed(entry)

    def _changed(self, entry: _Entry) -> None:
        """Sort an entry whose rows or trials have changed into those that ended, last, or are pending."""
        entry.observation = self._observations = None
        for entries in (self._ended, self._pending):
            entries.pop(id(entry), None)
        if entry.pending:
            self._pending[id(entry)] = entry
        elif entry.rows:
            self._ended[id(entry)] = entry

    def incomplete(self) -> list[Incomplete]:
        """Return the settings proposed earlier of whose trials only some have ended."""
        return [
            Incomplete(
                entry.setting,
                entry.knobs,
                tuple(trial for trial in entry.ids if trial not in entry.rows),
                entry.number,
                entry.known or 0,
            )
            for entry in self._entries.values()
            if entry.pending and entry.rows and entry.number is not None
        ]

    def row(self, trial_id: str) -> Mapping[str, Any] | None:
        """Return the latest row of a trial; None if it has none."""
        entry = self._of_trial.get(trial_id)
        return None if entry is None else entry.rows.get(trial_id)

    def history(self, left: RemainingBudget) -> History:
        """Return what the search may know now."""
        if self._observations is None:
            self._observations = [self._observation(entry) for entry in self._ended.values()]
        if self._spent is None:
            self._spent = math.fsum(used or 0.0 for used in self._used.values())
        pending = sorted(self._pending.values(), key=lambda entry: (entry.number is None, entry.number or 0))
        return History(
            observations=self._observations,
            pending=[Pending(entry.setting, entry.number, entry.known, entry.knobs) for entry in pending],
            left=left,
            number=self._number,
            spent=self._spent,
        )

    def has(self, trial_id: str) -> bool:
        """Return whether a trial of this sweep has a row."""
        entry = self._of_trial.get(trial_id)
        return entry is not None and trial_id in entry.used

    def step(self, trial_id: str) -> int:
        """Return the step at which a trial is paused; 0 if it is not."""
        return self._paused_at.get(trial_id, 0)

    @property
    def trials(self) -> int:
        """Number of trials with a row."""
        return len(self._used)

    def _placed(self, row: Mapping[str, Any]) -> _Entry | None:
        """Return the entry of a trial that is seen for the first time; None if it is at no setting of the space."""
        text = row.get("search_setting")
        setting, knobs = self._space.decode(text) if text else (self._space.setting_of(row), {})
        if setting is None:
            return None
        try:
            group = self._space.group(setting, knobs)
        except InputError:  # written by another version, or by hand
            return None
        own = not isinstance(group, str) and row["trial_id"] in group.ids
        ids = group.ids if own and row.get("search_number") is not None and not isinstance(group, str) else ()
        entry = self._entry(setting, knobs, ids)
        if row["trial_id"] not in entry.ids:  # an import, or a trial that differs in a fixed knob or the seed
            if row.get("launch_id") is not None and not own:
                return None
            entry.ids = (*entry.ids, row["trial_id"])
        self._of_trial[row["trial_id"]] = entry
        return entry

    def _entry(self, setting: Setting, knobs: Mapping[str, Value], ids: Iterable[str]) -> _Entry:
        key = setting, json.dumps(knobs, sort_keys=True) if knobs else ""
        if key not in self._entries:
            self._entries[key] = _Entry(setting, dict(knobs), tuple(ids))
        entry = self._entries[key]
        for trial_id in ids:
            self._of_trial[trial_id] = entry
        return entry

    def _observation(self, entry: _Entry) -> Observation:
        if entry.observation is None:
            entry.observation = self._observed(entry)
        return entry.observation

    def _observed(self, entry: _Entry) -> Observation:
        rows: Sequence[Mapping[str, Any]] = list(entry.rows.values())
        values = [self._objective.values(row) for row in rows if row["state"] == "completed"]
        states = {_ENDED.get(row["state"], "failed") for row in rows}
        status: Status = next(
            (state for state in ("diverged", "failed", "stopped", "paused") if state in states), "completed"
        )
        if status == "completed" and not all(values):
            status = "failed"  # it completed, and its objective is unknown
        means = tuple(sum(column) / len(column) for column in zip(*values, strict=True)) if all(values) else ()
        used = list(entry.used.values())
        steps = [row["last_step"] for row in rows if row.get("last_step") is not None]
        return Observation(
            setting=entry.setting,
            status=status,
            values=means if status == "completed" else (),
            flops=None if any(value is None for value in used) else sum(value or 0.0 for value in used),
            number=entry.number,
            known=entry.known,
            step=min(steps, default=None),
            steps=next((row["steps"] for row in rows if row.get("steps") is not None), None),
            curve=self._curve(entry.rows),
            ids=tuple(entry.rows),
            knobs=entry.knobs,
        )

    def _curve(self, trials: Iterable[str]) -> tuple[tuple[int, float], ...]:
        """Return the mean curve of these trials at the steps that all of them have."""
        curves = [self._curves.get(trial, {}) for trial in trials]
        shared = set(curves[0]).intersection(*curves[1:]) if curves else set()
        return tuple((step, sum(curve[step] for curve in curves) / len(curves)) for step in sorted(shared))


def inherited(knobs: Mapping[str, Value]) -> int:
    """Return the steps that a trial with these further knobs has from the checkpoint of another."""
    return changes.inherited(str(knobs.get("changes", "")))
