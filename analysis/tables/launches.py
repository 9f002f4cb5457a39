"""The launch records of a store, and the defaults they give to knobs that a workload gained after its first trials."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.sql.expressions import ALIASES
from sweeplaw.trials.record import TASK_SCORES, TRIAL_COLUMNS
from sweeplaw.trials.spec import Value
from sweeplaw.trials.store_format.damage import parsed_all
from sweeplaw.trials.store_format.location import Location

_TEXTS = ("launch_id", "recorded_at", "workload", "sweep", "sweep_file")
# Facts that are used, and whether a value can be one. Each may be missing: in an import, or an older store.
_FACTS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_TEXTS, lambda value: isinstance(value, str)),
    **dict.fromkeys(("scientific", "nuisance"), lambda value: _all_texts(value)),
    **dict.fromkeys(("fixed", "derived", "retry", "dropped"), lambda value: isinstance(value, dict)),
    "later_knobs": lambda value: isinstance(value, dict) and all(map(_is_value, value.values())),
}
_CORE = frozenset(column.name for column in TRIAL_COLUMNS)


def launches(location: Location, faults: list[str] | None = None) -> tuple[Mapping[str, Any], ...]:
    """Return the facts of each launch, oldest first.

    A file whose facts are not of the types in `_FACTS` is damaged: it is appended to ``faults``, or without these
    raises DamagedFileError.
    """
    recorded = parsed_all(location, "launches", _checked, faults)
    return tuple(sorted(recorded.values(), key=lambda launch: str(launch.get("recorded_at"))))


def later_defaults(recorded: Sequence[Mapping[str, Any]]) -> Mapping[tuple[str, str, str | None], set[Value]]:
    """Return the defaults that launches recorded for later knobs, by knob and `owner`.

    Names of core columns are left out: no knob has them.
    """
    found: dict[tuple[str, str, str | None], set[Value]] = {}
    for launch in recorded:
        for name, default in launch.get("later_knobs", {}).items():
            if name not in _CORE and "workload" in launch:
                belongs = owner(launch["workload"], str(launch.get("sweep")))
                found.setdefault((name, *belongs), set()).add(default)
    return found


def owner(workload: str, sweep: str) -> tuple[str, str | None]:
    """Return what a declared knob belongs to: the workload; for commands, which all share one name, also the sweep."""
    return workload, sweep if workload == "command" else None


def with_later_knobs(trials: pl.LazyFrame, recorded: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Fill each knob that a workload gained later with its default, at which the workload's earlier trials ran.

    Only nulls of knobs are filled, in rows of the same `owner`. A knob whose recorded defaults disagree, or do not fit
    its column, stays null.
    """
    present = trials.collect_schema()
    filled: dict[str, pl.Expr] = {}
    for (name, workload, sweep), defaults in later_defaults(recorded).items():
        default = next(iter(defaults))
        if name not in present or len(defaults) > 1 or not _fits(default, present[name]):
            continue
        column = filled.get(name, pl.col(name))
        same = (pl.col("workload") == workload) & pl.col("source").is_null()
        if sweep is not None:
            same &= pl.col("sweep") == sweep
        missing = pl.when(same & column.is_null()).then(_literal(default, present[name]))
        filled[name] = missing.otherwise(column).alias(name)
    return trials.with_columns(**filled) if filled else trials


def with_own_quantities(trials: pl.LazyFrame, recorded: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Let N, D and C stand for our columns (`ALIASES`) where a column of that name hides them.

    Earlier imports kept a foreign column N under its name: an imported row shows what N stands for if it is known, and
    its foreign value as `their_N`. A knob N of our own trials is shown; trials without it show what N stands for.
    """
    present = trials.collect_schema()
    imports = any(launch.get("kind") == "import" for launch in recorded)
    imported, shown = pl.col("source").is_not_null(), dict[str, pl.Expr]()
    for alias, name in ALIASES.items():
        if not {alias, name} <= set(present) or not (present[alias].is_numeric() or imports):
            continue
        numbers = pl.col(alias) if present[alias].is_numeric() else pl.col(alias).cast(pl.Float64, strict=False)
        ours = pl.when(imported).then(pl.coalesce(name, numbers)).otherwise(pl.coalesce(numbers, name))
        shown[alias] = ours.alias(alias)
        if imports:
            kept, hidden = f"their_{alias}", imported & pl.col(name).is_not_null()
            hidden = hidden if present[alias].is_numeric() else pl.lit(True)
            earlier = [pl.col(kept)] if kept in present else []
            shown[kept] = pl.coalesce(*earlier, pl.when(hidden).then(pl.col(alias))).alias(kept)
    return trials.with_columns(**shown) if shown else trials


def _fits(default: Value, kind: pl.DataType) -> bool:
    """Return whether a column of this type can hold the default; one of text holds the text of any."""
    if isinstance(default, bool):
        return kind in (pl.Boolean, pl.String)
    return kind == pl.String or (isinstance(default, int | float) and kind.is_numeric())


def _literal(default: Value, kind: pl.DataType) -> pl.Expr:
    return pl.lit(default).cast(pl.String) if kind == pl.String else pl.lit(default)


def _checked(content: dict[str, Any]) -> Mapping[str, Any]:
    """Return the facts. Raise ValueError if one cannot be used."""
    for name, fits in _FACTS.items():
        if name in content and not fits(content[name]):
            raise ValueError(f"{name} = {str(content[name])[:80]}")
    return content


def _all_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_value(value: Any) -> bool:
    """Return whether a knob can have this value."""
    return isinstance(value, bool | str) or (isinstance(value, int | float) and abs(value) <= sys.float_info.max)


def without_scores(
    trials: pl.LazyFrame, recorded: Sequence[Mapping[str, Any]]
) -> tuple[pl.LazyFrame, tuple[Mapping[str, Any], ...]]:
    """Return the trials and launches without those that scored kept models on tasks: their losses are of other data."""
    kept = tuple(launch for launch in recorded if launch.get("workload") != TASK_SCORES)
    if len(kept) == len(recorded) or "workload" not in trials.collect_schema():
        return trials, kept
    return trials.filter(pl.col("workload").ne_missing(TASK_SCORES)), kept
