"""The launch records of a store, and the defaults they give to knobs that a workload gained after its first trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.trials.record import TRIAL_COLUMNS
from sweeplaw.trials.spec import Value
from sweeplaw.trials.store_format.layout import Location

_CORE = frozenset(column.name for column in TRIAL_COLUMNS)


def launches(location: Location) -> tuple[Mapping[str, Any], ...]:
    """Return the facts of each launch, oldest first."""
    facts = [location.read_json(f"launches/{name}.json") for name in location.names("launches", ".json")]
    return tuple(sorted(facts, key=lambda launch: str(launch.get("recorded_at"))))


def later_defaults(recorded: Sequence[Mapping[str, Any]]) -> Mapping[tuple[str, str, str | None], set[Value]]:
    """Return the defaults that launches recorded for later knobs, by knob and `owner`.

    Launch files are not trusted: names of core columns and values that no knob can have are left out.
    """
    found: dict[tuple[str, str, str | None], set[Value]] = {}
    for launch in recorded:
        workload, sweep, knobs = (launch.get(key) for key in ("workload", "sweep", "later_knobs"))
        if not isinstance(workload, str) or not isinstance(knobs, Mapping):
            continue
        for name, default in knobs.items():
            if name not in _CORE and isinstance(default, int | float | str):
                found.setdefault((name, *owner(workload, str(sweep))), set()).add(default)
    return found


def owner(workload: str, sweep: str) -> tuple[str, str | None]:
    """Return what a declared knob belongs to: the workload; for commands, which all share one name, also the sweep."""
    return workload, sweep if workload == "command" else None


def with_later_knobs(trials: pl.LazyFrame, recorded: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Fill each knob that a workload gained later with its default, at which the workload's earlier trials ran.

    Only nulls of knobs are filled, in rows of the same `owner`. A knob whose recorded defaults disagree stays null.
    """
    present = trials.collect_schema().names()
    filled: dict[str, pl.Expr] = {}
    for (name, workload, sweep), defaults in later_defaults(recorded).items():
        if name not in present or len(defaults) > 1:
            continue
        column = filled.get(name, pl.col(name))
        same = (pl.col("workload") == workload) & pl.col("source").is_null()
        if sweep is not None:
            same &= pl.col("sweep") == sweep
        (default,) = defaults
        filled[name] = pl.when(same & column.is_null()).then(pl.lit(default)).otherwise(column).alias(name)
    return trials.with_columns(**filled) if filled else trials
