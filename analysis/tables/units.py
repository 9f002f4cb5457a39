"""Units and meanings of columns: those of the schema, and those that a sweep file declares for trials of its own.

A launch record holds its sweep file. `[workload.knobs]` and `[workload.metrics]` in it describe columns; the file is
not trusted, so what is no text is left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.trials.record import CURVE_COLUMNS, LOSS_UNITS, TRIAL_COLUMNS

SCHEMA: Mapping[str, str] = {column.name: column.unit for column in (*CURVE_COLUMNS, *TRIAL_COLUMNS)}
LOSSES = ("val_loss", "train_loss")  # their unit is that of language models: another workload's is what it declares


@dataclass(frozen=True, slots=True)
class Declared:
    """What the sweep files of a workload say of a column."""

    unit: str
    meaning: str
    workload: str


def declared(launches: Sequence[Mapping[str, Any]]) -> dict[str, Declared]:
    """Return what the sweep files of these launches declare, by column; different units or meanings are all named."""
    found: dict[str, list[Declared]] = {}
    for launch in launches:
        for name, unit, meaning in _described(launch.get("sweep_file")):
            found.setdefault(name, []).append(Declared(unit, meaning, str(launch.get("workload"))))
    return {
        name: Declared(
            _distinct(one.unit for one in declarations),
            _distinct(one.meaning for one in declarations),
            _distinct(one.workload for one in declarations),
        )
        for name, declarations in found.items()
    }


def units(
    columns: Iterable[str], launches: Sequence[Mapping[str, Any]], workloads: Iterable[str | None]
) -> dict[str, str]:
    """Return the unit of each column of runs of these workloads, empty if it has none or it is not known."""
    schema = {**SCHEMA, **dict.fromkeys(LOSSES, loss_unit(workloads))}
    own = {name: one.unit for name, one in declared(launches).items() if one.unit}
    return {name: own.get(name, schema.get(name, "")) for name in columns}


def loss_unit(workloads: Iterable[str | None]) -> str:
    """Return the unit of the losses of runs of these workloads, of language models without any; empty if unknown."""
    ran, usual = list(workloads), SCHEMA["val_loss"]
    if any(map(is_own, ran)):
        return ""
    return _distinct(LOSS_UNITS.get(workload or "", usual) for workload in ran) or usual


def is_own(workload: str | None) -> bool:
    """Return whether this workload is code of the user: a Python function or a command."""
    return workload is not None and (workload == "command" or workload.startswith("python:"))


def labelled(text: str, unit: str) -> str:
    """Return a label with its unit in parentheses, if it has one."""
    return f"{text} ({unit})" if unit else text


def _described(sweep_file: object) -> Iterator[tuple[str, str, str]]:
    """Yield name, unit and meaning of each knob and metric that a sweep file declares with one of them."""
    try:
        sweep = tomllib.loads(sweep_file) if isinstance(sweep_file, str) else {}
    except (ValueError, RecursionError):
        return
    workload = _table(sweep.get("workload"))
    for name, entry in {**_table(workload.get("knobs")), **_table(workload.get("metrics"))}.items():
        unit, meaning = (_text(_table(entry).get(key)) for key in ("unit", "meaning"))
        if unit or meaning:
            yield name, unit, meaning


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _distinct(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(filter(None, texts)))
