"""The section of a report on a sweep that searched: its path, what it recommends, what it stopped, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.changes import inherited
from sweeplaw.trials.quantities import is_number, short
from sweeplaw.trials.record import flops_done
from sweeplaw.trials.store_format import search_state
from sweeplaw.trials.store_format.layout import is_store
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.store_format.search_state import SearchState


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal whose trials have rows: its ``number``, the scientific ``point`` and the other ``knobs``.

    ``state`` is that of the trial which went worst; ``value`` is the mean of the objective over the seeds, None unless
    all completed. ``predicted`` is the final loss for which it was stopped. ``flops`` is what it used; ``spent`` and
    ``best`` are the FLOPs of the search and the best value of its point once it had ended, None if unknown.
    """

    number: int
    point: Mapping[str, Any]
    knobs: Mapping[str, Any]
    state: str
    value: float | None
    predicted: float | None
    flops: float | None
    reason: str
    trial_id: str
    ended: Any
    spent: float | None = None
    best: float | None = None

    @property
    def at(self) -> str:
        """The scientific point in words."""
        return ", ".join(f"{name} {_shown(value)}" for name, value in self.point.items())


@dataclass(frozen=True, slots=True)
class SearchSection:
    """A sweep that searched. ``path`` has its proposals in the order in which they ended; ``best`` is the best value of
    each point; ``state`` is where its latest launch says the search stands, None if it published nothing.
    """

    sweep: str
    objective: str
    maximize: bool
    scientific: tuple[str, ...]
    nuisance: tuple[str, ...]
    path: tuple[Proposed, ...]
    best: Mapping[str, float]
    state: SearchState | None

    @property
    def points(self) -> dict[str, list[Proposed]]:
        """The path by scientific point, the cheapest point first."""
        found: dict[str, list[Proposed]] = {}
        for one in sorted(self.path, key=lambda one: one.flops or 0.0):
            found.setdefault(one.at, [])
        for one in self.path:
            found[one.at].append(one)
        return found

    def shown_points(self, most: int) -> list[tuple[str, list[Proposed]]]:
        """Return at most so many points with a best value, evenly from the cheapest to the dearest."""
        points = [(name, ran) for name, ran in self.points.items() if name in self.best]
        return most_even(points, most)

    @property
    def numeric_knobs(self) -> list[str]:
        """The knobs that have numbers at every proposal, and not one alone."""
        columns = {name: [one.knobs.get(name) for one in self.path] for name in self.nuisance}
        return [name for name, values in columns.items() if all(map(_drawable, values)) and len(set(values)) > 1]

    def excess(self, one: Proposed, value: float) -> float:
        """Return by how many per cent a value is worse than the best that the search has at the proposal's point."""
        best = self.best[one.at]
        difference = best - value if self.maximize else value - best
        return 100 * difference / abs(best) if best else 100 * difference


def search_sections(
    source: str | Path, tables: Tables, trials: pl.DataFrame, by: Axes
) -> tuple[list[SearchSection], list[str]]:
    """Return a section for each sweep of whose ``trials`` (in any state) a search proposed some; and what is damaged.

    The table of a file has no state of the search, and its points are those of N and D: its path and the reasons are
    in the rows.
    """
    proposed = searched(trials)
    if not proposed:
        return [], []
    faults: list[str] = []
    states = search_state.load(locate(str(source)), faults) if is_store(source) else {}
    latest = search_state.foremost(states)
    facts = {str(launch.get("sweep")): launch for launch in tables.launches}
    sections = [
        _section(sweep, own.to_dicts(), latest.get(sweep), facts.get(sweep, {}), by) for sweep, own in proposed.items()
    ]
    return sections, faults


def searched(trials: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the trials that a search proposed, by their sweep and in the order of the proposals."""
    needed = {"search_number", "sweep", "state", "trial_id"}
    if not needed <= set(trials.columns) or not trials["search_number"].dtype.is_integer():
        return {}
    rows = trials.drop_nulls(["search_number", "sweep"]).sort("search_number", "trial_id")
    return {str(sweep): own for (sweep,), own in rows.group_by("sweep", maintain_order=True)}


def _section(
    sweep: str, rows: Sequence[Mapping[str, Any]], state: SearchState | None, facts: Mapping[str, Any], by: Axes
) -> SearchSection:
    objective = state.objective if state else by.loss
    scientific = tuple(facts.get("scientific") or (by.n, by.d))
    nuisance = tuple(facts.get("nuisance") or (name for name in _setting(rows[0]) if name and name not in scientific))
    maximize = bool(state and state.maximize)
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["search_number"], []).append(row)
    found = [_proposed(own, objective, scientific, nuisance) for own in groups.values()]
    path = tuple(_path(found, maximize))
    best = {one.at: one.best for one in path if one.best is not None}
    return SearchSection(sweep, objective, maximize, scientific, nuisance, path, best, state)


def _proposed(
    rows: Sequence[Mapping[str, Any]], objective: str, scientific: Sequence[str], nuisance: Sequence[str]
) -> Proposed:
    setting = _setting(rows[0])
    knobs = {name: setting.get(name, rows[0].get(name)) for name in (*scientific, *nuisance)}
    changes = rows[0].get("changes") or None
    values = [row.get(objective) for row in rows]
    states = [str(row["state"] or "unknown") for row in rows]
    done = all(state == "completed" for state in states) and all(_finite(value) for value in values)
    used = [flops_done(row, inherited(str(row.get("changes") or ""))) for row in rows]
    return Proposed(
        number=rows[0]["search_number"],
        point={name: knobs[name] for name in scientific},
        knobs={**{name: knobs[name] for name in nuisance}, **({"changes": changes} if changes else {})},
        state=next((state for state in states if state != "completed"), "completed"),
        value=sum(map(float, values)) / len(values) if done else None,  # type: ignore[arg-type]
        predicted=next((row[name] for row in rows if _finite(row.get(name := f"predicted_{objective}"))), None),
        flops=None if None in used else sum(map(float, used)),  # type: ignore[arg-type]
        reason=rows[0].get("search_reason") or "",
        trial_id=rows[0]["trial_id"],
        ended=max((row["ended_at"] for row in rows if row.get("ended_at") is not None), default=None),
    )


def _path(found: Sequence[Proposed], maximize: bool) -> Iterator[Proposed]:
    """Yield the proposals in the order in which they ended, with the FLOPs spent and the best of the point by then."""
    timed = all(one.ended is not None for one in found)
    spent: float | None = 0.0
    best: dict[str, float] = {}
    for one in sorted(found, key=lambda one: (one.ended, one.number) if timed else (one.number,)):
        spent = None if spent is None or one.flops is None else spent + one.flops
        if one.value is not None:
            best[one.at] = (max if maximize else min)(best.get(one.at, one.value), one.value)
        yield replace(one, spent=spent, best=best.get(one.at))


def search_values(section: SearchSection) -> dict[str, Any]:
    """Return a section as plain values, for JSON. A trial that was stopped has a prediction and no loss."""
    state = section.state
    path = [_values(one) for one in section.path]
    return {
        "sweep": section.sweep,
        "kind": state.kind if state else None,
        "objective": section.objective,
        "maximize": section.maximize,
        "proposals": len(path),
        "states": dict(sorted(pl.Series([one.state for one in section.path]).value_counts().iter_rows())),
        "flops": section.path[-1].spent if section.path else None,
        "budget_left": dict(state.left) if state else None,
        "belief": state.belief if state else None,
        "ended": state.ended if state else None,
        "recommended": [_recommended(section, row) for row in state.recommended] if state else [],
        "path": path,
        "stopped": [one for one in path if one["state"] == "stopped"],
    }


def _values(one: Proposed) -> dict[str, Any]:
    return {
        "number": one.number,
        "point": dict(one.point),
        "knobs": dict(one.knobs),
        "state": one.state,
        "value": one.value,
        "predicted": one.predicted if one.state == "stopped" else None,
        "flops": one.flops,
        "spent_flops": one.spent,
        "best": one.best,
        "reason": one.reason,
        "trial_id": one.trial_id,
    }


def _recommended(section: SearchSection, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "point": {name: row.get(name) for name in section.scientific},
        "knobs": {name: row.get(name) for name in section.nuisance},
        **{name: row[name] for name in ("value", "trust", "certified", "basis")},
        "intervals": {name: list(ends) for name, ends in row["intervals"].items()},
        "edges": dict(row["edges"]),
    }


def _setting(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of the axes as the search proposed them; none if the row does not keep them."""
    try:
        content = json.loads(row.get("search_setting") or "{}")
        text = json.dumps(content, ensure_ascii=False).encode(errors="replace")  # half a character has no UTF-8
        content = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _drawable(value: Any) -> bool:
    return is_number(value) and abs(value) < 1e300  # not NaN, and no whole number beyond a double


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")


def _shown(value: Any) -> str:
    return short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
