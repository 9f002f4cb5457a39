"""The reference of columns, made from the schema and the workloads themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.expressions import ALIASES
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS
from sweeplaw.trials.workloads import registry

WORKLOADS = ("language_model", "surrogate")  # the others bring the columns their user declares


@dataclass(frozen=True, slots=True)
class Entry:
    """One column: where it is, what it holds. ``origin``: core, or the workload whose knob or metric it is."""

    table: str
    column: str
    type: str
    unit: str
    meaning: str
    origin: str


def entries() -> list[Entry]:
    """Every column of both tables, core columns first."""
    found = [
        Entry(table, column.name, column.type, column.unit, column.meaning, "core")
        for table, columns in (("trials", TRIAL_COLUMNS), ("curves", CURVE_COLUMNS))
        for column in columns
    ]
    core = {entry.column for entry in found if entry.table == "trials"}
    for name in WORKLOADS:
        workload = registry.load(name)
        for knob in workload.knobs:
            if knob.name not in core:
                found.append(Entry("trials", knob.name, knob.type, knob.unit, knob.meaning, f"{name} knob"))
        for metric, (unit, meaning) in workload.metrics.items():
            if metric not in core:
                found.append(Entry("trials", metric, "float", unit, meaning, f"{name} metric"))
    return found


def present(source: str) -> list[Entry]:
    """The columns a store or file has, with what is known about each. Raises InputError."""
    loaded = tables.load(source, states=None)
    known = {(entry.table, entry.column): entry for entry in entries()}
    found = []
    for table, frame in (("trials", loaded.trials), ("curves", loaded.curves)):
        for column, kind in frame.collect_schema().items():
            unknown = Entry(table, column, str(kind), "", "", "this source")
            found.append(known.get((table, column), unknown))
    return found


def as_rows(found: Iterable[Entry]) -> list[Mapping[str, str]]:
    """Entries as plain rows."""
    return [asdict(entry) for entry in found]


def markdown(found: Sequence[Entry]) -> str:
    """The reference as a page."""
    lines = ["# Columns", "", "Made by `sweeplaw columns --markdown`; a test holds it fresh.", ""]
    lines += [
        "A query may also say " + ", ".join(f"`{name}` for `{column}`" for name, column in ALIASES.items()) + ".",
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
