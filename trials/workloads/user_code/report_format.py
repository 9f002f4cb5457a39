"""How the output of a script that was not written for us is read: its names, the pattern of its lines, its file.

    [workload]
    pattern = 'step (?P<step>[0-9]+) loss (?P<train_loss>[^ ]+)'  # of lines that are no JSON; or a list of patterns
    reports = "{folder}/log.csv"   # a file that it writes: JSON lines or, as .csv or .tsv, a table with a header

    [workload.metrics]
    val_loss = "loss/val"          # our name = its name; also { from = "loss/val", unit = "…", meaning = "…" }
    step = "iter"

None of this is part of a trial's identity. Nested values of a JSON line are named `outer/inner`.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from sweeplaw.trials.workloads.user_code import template

REPORT_KEYS = frozenset(("step", "train_loss", "val_loss", "final"))
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_SEPARATORS = (",", ";", "\t")
_SHOWN = 8  # names of an unknown line


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """``names``: its name -> ours. ``patterns``: their named groups are the values of a report, under either name.
    ``file``: a template of the file it writes; None if it prints."""

    names: Mapping[str, str] = field(default_factory=dict)
    patterns: tuple[re.Pattern[str], ...] = ()
    file: str | None = None

    @property
    def has_header(self) -> bool:
        """Whether the file is a table whose first line has the names."""
        return self.file is not None and PurePath(self.file).suffix.lower() in (".csv", ".tsv")


def of(options: Mapping[str, Any], accepted: Iterable[str], faults: list[str]) -> ReportFormat:
    """return the format that these options of ``[workload]`` describe; append the faults found to ``faults``.

    ``accepted`` are the placeholders of the file.
    """
    file = options.get("reports")
    if file is not None:
        faults += template.faults("workload.reports", file, accepted)
    names = _names(options.get("metrics"), faults)
    return ReportFormat(names, _patterns(options.get("pattern", ()), names, faults), file)


PLAIN = ReportFormat()  # of a script that was written for us


class ReportReader:
    """Reads the lines of one run as reports. ``unknown`` are the names in the first record that was none."""

    def __init__(self, report_format: ReportFormat) -> None:
        self.unknown: tuple[str, ...] = ()
        self._format = report_format
        self._header: list[str] = []
        self._separator = ","

    def report(self, line: bytes) -> dict[str, Any] | None:
        """Return the report in ``line`` under our names, with nested values flattened; None if there is none.

        Raise RecursionError for a record that is nested too deeply.
        """
        text = line.strip().rpartition(b"\r")[2].removeprefix(codecs.BOM_UTF8)  # a progress bar may stand before it
        values = self._cells(text) if self._format.has_header else _record(text)
        if values is None:
            found = _matched(text, self._format.patterns)
            return None if found is None else _renamed(found, self._format.names)
        values = _renamed(values, self._format.names)
        if REPORT_KEYS & values.keys():
            return values
        self.unknown = self.unknown or tuple(values)[:_SHOWN]
        return None

    def _cells(self, text: bytes) -> dict[str, Any] | None:
        """Return the cells of a line of a table by its header, which may occur again; None for the header."""
        row = next(csv.reader([text.decode(errors="replace")], delimiter=self._separator), [])
        if not self._header and row:
            self._separator = max(_SEPARATORS, key=text.decode(errors="replace").count)
            self._header = next(csv.reader([text.decode(errors="replace")], delimiter=self._separator))
            return None
        if row[:1] == self._header[:1]:
            self._header = row
            return None
        if self._separator == ";":  # which is used where numbers have decimal commas
            row = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else cell for cell in row]
        return {name: _value(cell) for name, cell in zip(self._header, row, strict=False) if cell.strip()} or None


def _record(text: bytes) -> dict[str, Any] | None:
    if not text.startswith(b"{"):
        return None
    try:
        try:
            value = json.loads(text.decode())
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None
        except ValueError:  # a whole number of thousands of digits
            value = json.loads(text.decode(), parse_int=float)
    except ValueError:  # and no JSON behind it
        return None
    return _flat(value, "") if isinstance(value, dict) else None


def _flat(record: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            for inner, found in _flat(value, f"{prefix}{name}/").items():
                flat.setdefault(inner, found)
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return ``values`` under our names; a value of its own under a name that is mapped keeps it with a prefix."""
    if not names:
        return dict(values)
    ours = {names[name]: value for name, value in values.items() if name in names}
    rest = {name: value for name, value in values.items() if name not in names}
    return {**ours, **{f"reported_{name}" if name in ours else name: value for name, value in rest.items()}}


def _matched(text: bytes, patterns: Iterable[re.Pattern[str]]) -> dict[str, Any] | None:
    """Return the named groups of the first pattern that occurs in the line."""
    line = _COLOUR.sub("", text.decode(errors="replace")) if patterns else ""
    for pattern in patterns:
        if found := pattern.search(line):
            return {name: _value(value) for name, value in found.groupdict().items() if value is not None}
    return None


def _value(text: str) -> float | str:
    try:
        return float(text.strip().rstrip(",;"))
    except ValueError:
        return text


def _names(declared: Any, faults: list[str]) -> dict[str, str]:
    """Return its name -> ours. What is no table or text is a fault of `declared.metrics`."""
    names: dict[str, str] = {}
    for ours, entry in (declared if isinstance(declared, Mapping) else {}).items():
        theirs = entry.get("from") if isinstance(entry, Mapping) else entry
        if not isinstance(theirs, str):
            continue
        if theirs in names:
            faults.append(f"workload.metrics.{ours} = {theirs!r} is {names[theirs]} already")
        names[theirs] = ours
    return names


def _patterns(declared: Any, names: Mapping[str, str], faults: list[str]) -> tuple[re.Pattern[str], ...]:
    """Return the compiled patterns of a text or a list of texts, whose groups have our names or, by ``names``, its."""
    found: list[re.Pattern[str]] = []
    for text in declared if isinstance(declared, list | tuple) else [declared]:
        try:
            if not isinstance(text, str):
                raise TypeError("it is no text")
            pattern = re.compile(text)
        except (re.error, TypeError) as error:
            faults.append(f"workload.pattern = {text!r} is not a regular expression: {error}")
            continue
        if REPORT_KEYS.isdisjoint(names.get(group, group) for group in pattern.groupindex):
            faults.append(f"workload.pattern = {text!r} names no value: it needs a group such as (?P<val_loss>\\S+)")
        found.append(pattern)
    return tuple(found)
