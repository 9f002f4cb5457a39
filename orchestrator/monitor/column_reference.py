"""The column reference, generated from the schema and the workloads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import polars as pl

from sweeplaw.analysis.event_times.observations import CENSORED, TIME
from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.sql.expressions import ALIASES
from sweeplaw.analysis.tables.units import LOSSES, Declared, declared, is_own, loss_unit
from sweeplaw.trials.record import CURVE_COLUMNS, EVENTS, TRIAL_COLUMNS
from sweeplaw.trials.workload import Workload
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.user_code.declared import SEED

# The workloads whose columns are known, with options that they need; those of the others are declared by their user.
WORKLOADS: Mapping[str, Mapping[str, str]] = {
    "language_model": {},
    "modular_arithmetic": {},
    "surrogate": {},
    "ridge": {},
    "linear_dynamics": {},
    "ensemble": {"store": "."},
    "evaluation": {"store": "."},
}
_STEPS = [f"{event}{end}" for events in EVENTS.values() for event in events for end in (TIME, CENSORED)]
_METRIC_TYPES = {  # of those that are no floats
    "members": "int",
    "questions": "int",
    "score_name": "str",
    **dict.fromkeys(_STEPS, "int"),
}
_WORDS: Mapping[type[pl.DataType], str] = {pl.String: "str", pl.Boolean: "bool", pl.Datetime: "time"}
_POLARS = {"float": pl.Float64, "int": pl.Int64, "str": pl.String}


@dataclass(frozen=True, slots=True)
class Entry:
    """One column of a table. ``origin`` is "core", or names the workload whose knob or metric it is."""

    table: str
    column: str
    type: str
    unit: str
    meaning: str
    origin: str


def entries() -> list[Entry]:
    """Return every column of both tables, core columns first."""
    found = [
        Entry(table, column.name, column.type, column.unit, column.meaning, "core")
        for table, columns in (("trials", TRIAL_COLUMNS), ("curves", CURVE_COLUMNS))
        for column in columns
    ]
    core = {entry.column for entry in found if entry.table == "trials"}
    for name in WORKLOADS:
        workload = _workload(name)
        for knob in workload.knobs:
            if knob.name not in core:
                found.append(Entry("trials", knob.name, knob.type, knob.unit, knob.meaning, f"{name} knob"))
        for metric, (unit, meaning) in workload.metrics.items():
            if metric not in core:
                kind = _METRIC_TYPES.get(metric, "float")
                found.append(Entry("trials", metric, kind, unit, meaning, f"{name} metric"))
    return found


def _workload(name: str) -> Workload:
    return registry.load(name, WORKLOADS[name])


def present(source: str, faults: list[str] | None = None) -> list[Entry]:
    """Return the columns of a store or file, described where they are known. Raise InputError.

    Damage, whose columns may be missing, is appended to ``faults``.
    What the sweep files of the launches declare of a column replaces what it means in other workloads.
    """
    loaded = tables.load(source, states=None)
    if faults is not None:
        faults.extend(loaded.faults)
    declarations = declared(loaded.launches)
    workloads = _workloads(loaded)
    known: dict[tuple[str, str], Entry] = {}
    for entry in _described(workloads):
        known.setdefault((entry.table, entry.column), entry)
    found = []
    for table, frame in (("trials", loaded.trials), ("curves", loaded.curves)):
        for column, kind in frame.collect_schema().items():
            entry = known.get((table, column), Entry(table, column, "", "", "", "this source"))
            found.append(_declared(replace(entry, type=_type(kind)), declarations.get(column)))
    return found


def _type(kind: pl.DataType) -> str:
    """Return a type in the word of the schema, or in that of Polars if the schema has none."""
    if kind.is_integer():
        return "int"
    return "float" if kind.is_float() else _WORDS.get(type(kind), str(kind))


def measured(loaded: tables.Tables) -> set[str]:
    """Return the metrics of our workloads among those of these trials; a trial may have no value of one."""
    return {metric for name in WORKLOADS.keys() & _workloads(loaded) for metric in _workload(name).metrics}


def with_null_metrics(loaded: tables.Tables, text: str) -> tables.Tables:
    """Return the tables with a null column for each metric of these trials' workloads that ``text`` names and none has.

    A store has columns only of numbers that some trial has: none of an event that never occurred.
    """
    missing = measured(loaded) - {*loaded.trials.collect_schema()}
    named = sorted(missing & {*re.findall(r"\w+", text)})
    nulls = [pl.lit(None, _POLARS[_METRIC_TYPES.get(name, "float")]).alias(name) for name in named]
    return replace(loaded, trials=loaded.trials.with_columns(nulls)) if nulls else loaded


def _described(workloads: Collection[str]) -> Iterator[Entry]:
    """Yield the entries for trials of these workloads; for user code, knobs and losses are those it declares."""
    own = bool(workloads) and all(map(is_own, workloads))
    ran = {f"{name} {kind}" for name in workloads for kind in ("knob", "metric")}
    known = WORKLOADS.keys() & workloads if len(workloads) == 1 else ()
    losses = {metric: words for name in known for metric, words in _workload(name).metrics.items()}
    for entry in sorted(entries(), key=lambda entry: entry.origin != "core" and entry.origin not in ran):
        if own and entry.column in LOSSES:
            yield replace(entry, unit="", meaning="as the trial reported it")
        elif entry.column in LOSSES:
            unit, meaning = losses.get(entry.column, (loss_unit(workloads), entry.meaning))
            yield replace(entry, unit=unit, meaning=meaning)
        elif not own or entry.origin == "core":
            yield entry
    if own:
        yield Entry("trials", SEED.name, SEED.type, SEED.unit, SEED.meaning, "knob")


def _workloads(loaded: tables.Tables) -> list[str]:
    if "workload" not in loaded.trials.collect_schema():
        return []
    names: list[str] = loaded.trials.select("workload").unique().collect()["workload"].to_list()
    return names


def _declared(entry: Entry, declaration: Declared | None) -> Entry:
    """Return the entry with what a sweep file says of its unit and meaning."""
    if declaration is None:
        return entry
    return replace(
        entry,
        unit=declaration.unit or entry.unit,
        meaning=declaration.meaning or entry.meaning,
        origin=entry.origin if entry.origin == "core" else declaration.workload,
    )


def as_rows(found: Iterable[Entry]) -> list[Mapping[str, str]]:
    """Return the entries as plain rows."""
    return [asdict(entry) for entry in found]


def markdown(found: Sequence[Entry]) -> str:
    """Return the reference as a Markdown page."""
    lines = ["# Columns", "", "Generated by `sweeplaw columns --markdown`; a test keeps it up to date.", ""]
    lines += [
        "Queries also accept " + ", ".join(f"`{name}` for `{column}`" for name, column in ALIASES.items()) + ".",
        "",
    ]
    for title, members in _sections(found).items():
        lines += [f"## {title}", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [f"| `{e.column}` | {e.type} | {e.unit} | {e.meaning.replace('|', chr(92) + '|')} |" for e in members]
        lines.append("")
    return "\n".join(lines)


def _sections(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    sections: dict[str, list[Entry]] = {}
    for entry in found:
        title = f"{entry.table}: every row" if entry.origin == "core" else f"{entry.table}: {entry.origin}s"
        sections.setdefault(title, []).append(entry)
    return sections
