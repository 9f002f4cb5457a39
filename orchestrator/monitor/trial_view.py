"""One trial of a store: its spec, attempts, curve and logs, found by an id or its beginning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator.launch.retries import attempts_of
from sweeplaw.orchestrator.monitor import searches
from sweeplaw.orchestrator.monitor.status import planned, running_packs
from sweeplaw.orchestrator.store.claims import leases
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Value
from sweeplaw.trials.store_format import attempt_log
from sweeplaw.trials.store_format.parts.trial_states import nearest_id
from sweeplaw.trials.store_format.search_state import SearchState

ATTEMPT = ("attempt", "state", "message", "launch_id", "pack_id", "host", "started_at", "ended_at", "train_seconds")
_LISTED = 5  # ids that a message names


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """What an attempt printed. ``together`` is the number of trials that printed it, more than one for a stack."""

    launch_id: str
    attempt: int
    together: int
    output: bytes


@dataclass(frozen=True, slots=True)
class TrialView:
    """``row`` is the latest outcome, empty for a trial without one; ``attempts`` are all rows, oldest first.

    The row of an excluded trial has its `exclusion_reason`, and no curve.

    ``curve`` has the points of the latest attempt; ``launch`` the facts of the latest launch that ran or planned it;
    ``proposed`` is why a search proposed it, empty if none did.
    """

    trial_id: str
    row: Mapping[str, Any]
    knobs: Mapping[str, Value]
    attempts: pl.DataFrame
    curve: pl.DataFrame
    launch: Mapping[str, Any]
    proposed: str = ""


def find(store: Store, prefix: str) -> str:
    """Return the id of the one trial whose id begins with ``prefix``, whether it has ended or not. Raise InputError.

    Damage goes to the ``problems`` of the store.
    """
    begins = pl.col("trial_id").str.starts_with(prefix)
    held = tables.load(store.location.uri, states=None)
    store.report(held.faults)
    found = set(held.trials.filter(begins).select("trial_id").collect()["trial_id"])
    found |= set(held.excluded.filter(begins).collect()["trial_id"])
    found = found or {trial for ids in planned(store).values() for trial in ids.filter(begins)["trial_id"]}
    running = (trial for state in searches.searches(store) for trial in state.running)
    found = found or {trial for trial in running if trial.startswith(prefix)}
    if len(found) == 1:
        return str(found.pop())
    if not found:
        near = nearest_id(prefix, held.trials.select("trial_id").collect()["trial_id"])
        raise InputError(f"{store.location.uri} has no trial {prefix!r}" + (f"; did you mean {near}?" if near else ""))
    some = ", ".join(sorted(found)[:_LISTED])
    raise InputError(f"{len(found)} trials of {store.location.uri} begin with {prefix!r}: {some}… (accepted: one id)")


def view(store: Store, trial_id: str) -> TrialView:
    """Return what the store knows of this trial."""
    held = tables.load(store.location.uri, states=None)
    near = held.narrowed([trial_id]) if held.narrowed else held.trials
    latest = near.filter(pl.col("trial_id") == trial_id).collect().to_dicts()
    latest = latest or held.excluded.filter(pl.col("trial_id") == trial_id).collect().to_dicts()
    row = {name: value for name, value in latest[0].items() if value is not None} if latest else {}
    curve = held.curves.filter(pl.col("trial_id") == trial_id).collect()
    attempts = attempts_of(store.location, trial_id, ATTEMPT).select(ATTEMPT)
    planners = (launch for launch, ids in planned(store).items() if trial_id in ids["trial_id"])
    ran = row.get("launch_id") or next(planners, None)
    launch = next((facts for facts in held.launches if facts.get("launch_id") == ran), {})
    search = _search(store, row.get("sweep"), trial_id)
    return TrialView(
        trial_id=trial_id,
        row=row,
        knobs=_knobs(row.get("spec", "")),
        attempts=attempts,
        curve=curve.sort("step").select(name for name in curve.columns if curve[name].null_count() < curve.height),
        launch=launch,
        proposed=searches.proposed(search, row, trial_id),
    )


def _search(store: Store, sweep: str | None, trial_id: str) -> SearchState | None:
    """Return where the search of this sweep stands, or the one that runs a trial without a row; None if none does."""
    states = searches.searches(store)
    return next((one for one in states if one.sweep == sweep or (sweep is None and trial_id in one.running)), None)


def logs(store: Store, trial_id: str, attempts: pl.DataFrame) -> list[AttemptLog]:
    """Return what the attempts of a trial printed, oldest first, an attempt that runs now included.

    ``attempts`` are its rows. The log of an attempt without a row, whose worker died, is looked for in all logs of the
    launches. Damage goes to the ``problems`` of the store.
    """
    names = [name + attempt_log.SUFFIX for name in store.location.names(attempt_log.FOLDER, attempt_log.SUFFIX)]
    packs = {*attempts.select("launch_id", "pack_id").iter_rows(), *_running(store, trial_id)}
    launches = {launch for launch, _ in packs}
    near = tuple(f"{launch}-{pack}-" for launch, pack in packs) + tuple(f"{one}-{trial_id[:12]}-" for one in launches)
    found = list(_read(store, launches, (name for name in names if name.startswith(near)), trial_id))
    known = max([0, *attempts["attempt"], *(one.attempt for one in found)])
    if len({one.attempt for one in found}) < known:
        theirs = tuple(f"{launch}-" for launch in launches)
        rest = (name for name in names if name.startswith(theirs) and not name.startswith(near))
        found += _read(store, launches, rest, trial_id)
    return sorted(found, key=lambda one: (one.attempt, one.launch_id))


def alone(found: TrialView) -> str:
    """Return a sweep file whose only trial is this one. Raise InputError if the store does not know its sweep."""
    try:
        workload = toml_file.parse(found.launch["sweep_file"])["workload"]
    except (KeyError, TypeError, AttributeError, InputError):  # the store's content is not trusted
        workload = found.row.get("workload")
    if not found.knobs or workload is None:
        raise InputError(f"the store has no spec of trial {found.trial_id}: it has not ended, or it was imported")
    knobs = {name: value for name, value in found.knobs.items() if name not in ("seed", "command")}
    axis = next((name for name in (*found.launch.get("scientific", ()), *knobs) if name in knobs), None)
    lines = [
        f"# Trial {found.trial_id} alone. Keep this file in the folder of its sweep file.",
        f"name = {toml_file.text_of(found.row.get('sweep', 'alone'))}",
        f"workload = {toml_file.text_of(workload)}",
        *([f"seeds = [{found.knobs['seed']}]"] if "seed" in found.knobs else []),
        *(["[scientific]", f"{toml_file.key(axis)} = [{toml_file.text_of(knobs.pop(axis))}]"] if axis else []),
        "[fixed]",
        *(f"{toml_file.key(name)} = {toml_file.text_of(value)}" for name, value in knobs.items()),
    ]
    return "\n".join(lines) + "\n"


def _knobs(spec: str) -> Mapping[str, Value]:
    """Return the knobs in a spec, none if it is not one of ours."""
    try:
        knobs = json.loads(spec)["knobs"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return knobs if isinstance(knobs, Mapping) else {}


def _running(store: Store, trial_id: str) -> Iterator[tuple[str, str]]:
    """Yield launch and pack of the workers that run the trial now."""
    for lease in leases(store.location):
        for pack in running_packs(store, lease):
            if trial_id in pack.steps:
                yield lease.launch_id, pack.pack_id


def _read(store: Store, launches: Iterable[str], names: Iterable[str], trial_id: str) -> Iterator[AttemptLog]:
    for name in names:
        path = f"{attempt_log.FOLDER}/{name}"
        try:
            content = store.location.read(path)
        except FileNotFoundError:  # its pack has ended without output
            continue
        if attempt_log.is_damaged(content):
            store.report([f"{path} is damaged: its content differs from its checksum"])
        for section in attempt_log.sections(content):
            if trial_id in section.attempts:
                launch = next(launch for launch in launches if name.startswith(f"{launch}-"))
                yield AttemptLog(launch, section.attempts[trial_id], len(section.attempts), section.output)
