"""Declarations in a sweep file about the user's workload: knobs, bounds, and costs given by knobs.

A knob is declared as `name = default`, or as a table of `type`, `default`, `unit`, `meaning`, `choices`, `low`, `high`,
`member` and `since`. A knob added after trials have run declares `since` (any text: a version, a date) and the default
at which they ran, so that their ids stay the same. A knob used without a declaration takes its type from its values;
declaring it keeps the identity of its trials when a later sweep adds a fraction to whole numbers.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import nearest
from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.record import RESERVED_COLUMNS, TRIAL_COLUMNS
from sweeplaw.trials.spec import Knob, KnobType, Value
from sweeplaw.trials.workloads.registry import SWEEP_OPTIONS

LONGEST_NAME = 128  # characters of a knob's name

SEED = Knob("seed", "int", 0, "", "seed of everything random in the trial")

_DECLARATION: dict[str, Any] = {
    "type": str,
    "default": object,
    "unit": str,
    "meaning": str,
    "member": bool,
    "choices": list,
    "low": int | float,
    "high": int | float,
    "since": str,
}
_COLUMN_TYPES = {column.name: column.type for column in TRIAL_COLUMNS if column.name not in RESERVED_COLUMNS}
_MEASURED = ("val_loss", "train_loss")
COST_COLUMNS = frozenset(Cost().columns())


def knobs(declared: Any, axes: Any, faults: list[str]) -> tuple[Knob, ...]:
    """Return the knobs that a sweep declares or uses, and a seed in any case; append the faults found to ``faults``.

    ``declared`` maps a name to its default or table, ``axes`` to sample values.
    """
    tables, samples = _mapping("workload.knobs", declared, faults), _mapping("axes", axes, faults)
    found: dict[str, Knob] = {}
    for name in (*tables, *(name for name in samples if name not in tables)):
        try:
            found[name] = _knob(name, tables.get(name), samples.get(name, ()))
        except ValueError as fault:
            faults.append(f"workload.knobs.{name}: {fault}")
    found.setdefault(SEED.name, SEED)
    return tuple(found.values())


def metrics(declared: Any, faults: list[str]) -> dict[str, tuple[str, str]]:
    """Return the unit and the meaning of each metric that a sweep describes, val_loss included."""
    found: dict[str, tuple[str, str]] = {}
    for name, entry in _mapping("workload.metrics", declared, faults).items():
        if isinstance(entry, str):  # only the script's name of it, see `report_format`
            continue
        if not isinstance(entry, Mapping) or not all(isinstance(value, str) for value in entry.values()):
            accepted = "a table of from, unit and meaning, all text, or the script's name of it"
            faults.append(f"workload.metrics.{name} = {entry!r} (accepted: {accepted})")
            continue
        faults += unknown_names(f"workload.metrics.{name}", entry, ("from", "unit", "meaning"))
        found[name] = (entry.get("unit", ""), entry.get("meaning", ""))
    return found


def resources(declared: Any, faults: list[str]) -> dict[str, float]:
    """Return the resources of one trial, ``cpus`` and ``gpus``, as far as they are declared."""
    given = _mapping("workload.resources", declared, faults)
    faults += unknown_names("workload.resources", given, ("cpus", "gpus"))
    return {name: bound(f"resources.{name}", amount, faults) for name, amount in given.items()}


def bound(name: str, value: Any, faults: list[str], *, default: float = math.inf) -> float:
    """Return a setting that must be a non-negative number; ``default`` if it is not set."""
    if value is None:
        return default
    if not is_number(value) or not 0 <= value < math.inf:
        faults.append(f"workload.{name} = {value!r} is not a finite number that is zero or more")
        return default
    return float(value)


def flag(name: str, value: Any, faults: list[str]) -> bool:
    """Return a setting that is true or false; false if it is not set."""
    if value is not None and not isinstance(value, bool):
        faults.append(f"workload.{name} = {value!r} (accepted: true or false)")
    return value is True


def exit_codes(value: Any, faults: list[str]) -> frozenset[int]:
    """Return the exit codes after which a trial runs again."""
    if not isinstance(value, list | tuple) or not all(type(code) is int and 0 < code < 256 for code in value):
        faults.append(f"workload.retry_exit_codes = {value!r} is not a list of exit codes from 1 to 255, such as [75]")
        return frozenset()
    return frozenset(value)


def unknown_options(options: Iterable[str], accepted: Sequence[str]) -> list[str]:
    """Return a fault for each setting of ``[workload]`` that is not accepted, except those that the sweep adds."""
    return unknown_names("workload", [name for name in options if name not in SWEEP_OPTIONS], accepted)


def unknown_names(where: str, given: Iterable[str], accepted: Sequence[str]) -> list[str]:
    """Return a fault for each name that is not accepted, with the nearest accepted one."""
    listed, prefix = ", ".join(accepted), where and f"{where}."
    return [
        f"{prefix}{name} is not known (accepted: {listed}){nearest(name, accepted)}"
        for name in given
        if name not in accepted
    ]


def cost(values: Mapping[str, Any]) -> Cost:
    """Return the cost that knobs named like cost columns give, and what follows from it by definition:

    tokens = unique_tokens x epochs, and params = params_embedding + params_non_embedding.
    """
    known = {name: value for name, value in values.items() if name in COST_COLUMNS and value is not None}
    if {"params", "params_embedding"} <= known.keys():
        known.setdefault("params_non_embedding", known["params"] - known["params_embedding"])
    unique, epochs, tokens = (known.get(name) for name in ("unique_tokens", "epochs", "tokens"))
    if tokens is None and unique is not None and epochs is not None:
        known["tokens"] = round(unique * epochs)
    elif epochs is None and tokens is not None and unique:
        known["epochs"] = tokens / unique
    return Cost(**known)


def facts(values: Mapping[str, Any]) -> dict[str, int | float]:
    """Return the numeric costs that these values already determine."""
    stated = {name: value for name, value in values.items() if is_number(value) and math.isfinite(value)}
    return {name: value for name, value in cost(stated).columns().items() if value is not None}


def _knob(name: str, declaration: Any, samples: Sequence[Any]) -> Knob:
    _refuse_name(name)
    table = declaration if isinstance(declaration, Mapping) else {"default": declaration}
    _refuse_keys(table)
    default = table.get("default")
    type_ = (
        table.get("type") or _COLUMN_TYPES.get(name) or _inferred([*([] if default is None else [default]), *samples])
    )
    if type_ not in get_args(KnobType):
        raise ValueError(f"type = {type_!r} is not known (accepted: {', '.join(get_args(KnobType))})")
    if type_ != _COLUMN_TYPES.get(name, type_):
        raise ValueError(f"type = {type_!r}, but the table's column of this name holds {_COLUMN_TYPES[name]}")
    if default is None and "since" in table:
        raise ValueError(f"since = {table['since']!r} needs a default: the value at which older trials ran")
    if table.get("member") and name in COST_COLUMNS:
        raise ValueError("member = true, but trials of one pack must cost the same")
    knob = Knob(
        name,
        cast(KnobType, type_),
        None,
        table.get("unit", ""),
        table.get("meaning", ""),
        member=table.get("member", False),
        choices=tuple(table.get("choices", ())),
        low=table.get("low", -math.inf),
        high=table.get("high", math.inf),
    )
    return knob if default is None else replace(knob, default=knob.coerce(default), since=table.get("since"))


def _refuse_keys(table: Mapping[str, Any]) -> None:
    faults = unknown_names("", table, tuple(_DECLARATION))
    for name, value in table.items():
        if not isinstance(value, _DECLARATION.get(name, object)) or (
            isinstance(value, bool) and name in ("low", "high")
        ):
            faults.append(f"{name} = {value!r} does not fit (see the declaration of knobs)")
    if any(not isinstance(choice, str) for choice in table.get("choices", ())):
        faults.append(f"choices = {table['choices']!r} is not a list of texts")
    if faults:
        raise ValueError("; ".join(faults))


def _refuse_name(name: str) -> None:
    if not all(part.isidentifier() for part in name.split(".")) or len(name) > LONGEST_NAME:
        rule = "a knob's name is made of letters, digits and _, and starts with no digit (or of such parts with dots)"
        raise ValueError(f"{rule}; it has at most {LONGEST_NAME} characters")
    if (plain := unicodedata.normalize("NFKC", name)) != name:
        raise ValueError(f"a formula would read this knob's name as {plain!r}; use that")
    if name in RESERVED_COLUMNS or name in _MEASURED:
        raise ValueError("the table's column of this name is filled by the run; choose another name")


def _inferred(samples: Sequence[Value]) -> KnobType:
    """Return the type of all samples; whole numbers and fractions together are floats."""
    kinds = {type(sample) for sample in samples}
    for type_, accepted in (("bool", {bool}), ("int", {int}), ("float", {int, float}), ("str", {str})):
        if kinds and kinds <= accepted:
            return cast(KnobType, type_)
    if not kinds:
        raise ValueError("has no value to take a type from: give it a default or a type")
    raise ValueError(f"values {list(samples)[:5]!r} have no common type (int, float, str or bool)")


def _mapping(where: str, value: Any, faults: list[str]) -> Mapping[str, Any]:
    if value is None or isinstance(value, Mapping):
        return value or {}
    faults.append(f"{where} = {value!r} is not a table")
    return {}
