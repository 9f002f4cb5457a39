"""The JSON Schema of sweep files, from the models and knobs that `orchestrator.plan.sweep` checks them with.

It knows forms, types, bounds, choices and names of keys. What only the whole file says (formulas, lists of one length,
names given twice, the size of a sweep) is checked by `sweeplaw plan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplaw.orchestrator import sinks
from sweeplaw.orchestrator.plan import search_options
from sweeplaw.orchestrator.plan.axes import MOST_VALUES
from sweeplaw.orchestrator.plan.search_options import SearchOptions
from sweeplaw.orchestrator.plan.sweep import SweepFile
from sweeplaw.orchestrator.schemas.models import DRAFT, TEXT, Schema, closed, list_of, of_model
from sweeplaw.orchestrator.schemas.workload_settings import workload
from sweeplaw.trials.spec import LARGEST, Knob
from sweeplaw.trials.workloads import registry

# Workloads whose knobs are known, with a setting that they need.
KNOWN: Mapping[str, Mapping[str, str]] = {
    "language_model": {},
    "modular_arithmetic": {},
    "surrogate": {},
    "ridge": {},
    "linear_dynamics": {},
    "ensemble": {"store": "."},
    "evaluation": {"store": "."},
}
DEFAULT = "language_model"
ROLES = ("scientific", "nuisance")
_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
_WHEN = {**TEXT, "description": "A condition: elsewhere the axis has the knob's default, optimizer == 'sgd'."}
_ANY = {"type": ["number", "string", "boolean"]}


def schema() -> Schema:
    """Return the schema of a sweep file."""
    definitions: Schema = {"range": _range(), "any_axis": _any_axis()}
    file = of_model(SweepFile, definitions)
    keys = file["properties"]
    keys["workload"] = workload()
    keys["search"] = _search(definitions)
    keys["log_to"] = _one_or_more({"type": "string", "pattern": _sinks()})
    keys["where"] = _one_or_more(TEXT)
    keys["seeds"] = {
        "description": "Their number, or a list of them.",
        "default": 1,
        "anyOf": [{"type": "integer", "minimum": 1}, list_of({"type": "integer"})],
    }
    meanings = {knob.name: knob.meaning for knob in _knobs(DEFAULT)}
    for role in ROLES:
        keys[role] = {**_named(meanings), "patternProperties": {"": {"$ref": "#/$defs/any_axis"}}}
    keys["fixed"] = {**_named(meanings), "patternProperties": {"": _ANY}}
    keys["derived"] = {**_named(meanings), "patternProperties": {"": {"type": ["string", "number"]}}}
    keys["zip"] = {"type": "array", "items": _block({"type": "array", "items": _ANY, "minItems": 1})}
    rules = [rule for name in KNOWN for rule in _rules_of(name, definitions)]
    return {
        "$schema": DRAFT,
        "title": "A sweep file of sweeplaw",
        **file,
        "anyOf": _scientific(),
        "allOf": [*rules, _rules_of_others()],
        "$defs": definitions,
    }


def _named(meanings: Mapping[str, str]) -> Schema:
    """Return a table whose keys an editor offers with their meanings."""
    return {
        "type": "object",
        "properties": {name: {"description": meaning} for name, meaning in meanings.items()},
        "propertyNames": {"not": {"const": "seed"}},
    }


def _scientific() -> list[Schema]:
    """Return the two ways to give a sweep the axis that it needs."""
    zipped = {"required": ["role"], "properties": {"role": {"const": "scientific"}}}
    return [
        {"required": ["scientific"], "properties": {"scientific": {"minProperties": 1}}},
        {"required": ["zip"], "properties": {"zip": {"contains": zipped}}},
    ]


def _search(definitions: Schema) -> Schema:
    """Return the schema of ``[search]``: of each model, with the kinds that it has."""
    kinds: dict[type[SearchOptions], list[str]] = {}
    for kind, model in search_options.KINDS.items():
        kinds.setdefault(model, []).append(kind)
    tables = []
    for model, names in kinds.items():
        table = of_model(model, definitions)
        table["properties"]["kind"] = {"enum": names}
        table["required"] = [] if "grid" in names else ["kind"]
        tables.append(table)
    return {"description": "Which trials run; all combinations without it.", "oneOf": tables}


def _sinks() -> str:
    one = rf"\s*({'|'.join(sinks.KINDS)}):[^,@]*[^,@\s]\s*"
    return f"^({one},)*({one})?,?$"


def _range() -> Schema:
    def form(kind: str, ends: Schema) -> Schema:
        pair = {"type": "array", "items": ends, "minItems": 2, "maxItems": 2}
        num = {"type": "integer", "minimum": 1, "maximum": MOST_VALUES}
        return closed({kind: pair, "num": num, "when": _WHEN}, (kind,))

    positive = {"type": "number", "exclusiveMinimum": 0}
    return {
        "description": "Values from low to high; without num a range, from which a random search draws.",
        "anyOf": [form("log", positive), form("linear", {"type": "number"})],
    }


def _any_axis() -> Schema:
    """Return the forms of an axis, of any knob."""
    values = list_of(_ANY)
    listed = [closed({kind: values, "when": _WHEN}, (kind,)) for kind in ("list", "grid")]
    return {"anyOf": [_ANY, values, {"$ref": "#/$defs/range"}, *listed]}


def _axis(value: Schema, *, ranges: bool) -> Schema:
    """Return what holds for an axis with these values, beside its form."""
    values = {"items": value}
    table: Schema = {"type": "object", "properties": {"list": values, "grid": values}}
    if not ranges:
        table["properties"] |= {"log": False, "linear": False}
    return {"anyOf": [value, {"type": "array", **values}, table]}


def _value(knob: Knob) -> Schema:
    """Return the schema of one value of a knob."""
    schema: Schema = {"description": f"{knob.meaning} ({knob.unit})" if knob.unit else knob.meaning}
    if knob.choices:
        return {**schema, "enum": list(knob.choices)}
    schema["type"] = _TYPES[knob.type]
    low, high = (max(knob.low, -LARGEST), min(knob.high, LARGEST - 1)) if knob.type == "int" else (knob.low, knob.high)
    bounds = {"minimum": low, "maximum": high} if knob.type in ("int", "float") else {}
    return schema | {name: _plain(bound) for name, bound in bounds.items() if math.isfinite(bound)}


def _plain(bound: float) -> int | float:
    return int(bound) if bound == int(bound) else bound


def _block(lists: Schema | bool, **named: Schema) -> Schema:
    """Return the schema of a block ``[[zip]]``, with these lists of values."""
    role = {"enum": list(ROLES)}
    return {
        "type": "object",
        "properties": {"role": role, **named},
        "required": ["role"],
        "minProperties": 3,
        "additionalProperties": lists,
    }


def _knobs(name: str) -> Sequence[Knob]:
    """Return what a sweep may set of a known workload; its seed has a key of its own."""
    loaded = registry.load(name, KNOWN[name])
    return [knob for knob in (*loaded.knobs, *loaded.requests) if knob.name != "seed"]


def _rules_of(name: str, definitions: Schema) -> list[Schema]:
    """Return what holds in a sweep of a known workload: the names, types and bounds of its knobs."""
    knobs = _knobs(name)
    values = {knob.name: f"{name}.{knob.name}" for knob in knobs}
    definitions |= {values[knob.name]: _value(knob) for knob in knobs}
    reference = {knob.name: {"$ref": f"#/$defs/{values[knob.name]}"} for knob in knobs}
    axes = f"{name}.axes"
    definitions[axes] = closed(
        {knob.name: _axis(reference[knob.name], ranges=knob.type in ("int", "float")) for knob in knobs}
    )
    tables: Schema = {role: {"$ref": f"#/$defs/{axes}"} for role in ROLES}
    tables["fixed"] = closed(reference)
    tables["derived"] = closed(dict.fromkeys(reference, True))
    tables["zip"] = {"items": _block(False, **{knob: list_of(value) for knob, value in reference.items()})}
    then: Schema = {"properties": tables}
    if not registry.load(name, KNOWN[name]).keeps:
        then["not"] = {"required": ["keep"]}
    return [{"if": _runs(name), "then": then}]


def _rules_of_others() -> Schema:
    """Return what holds in a sweep of any other workload: it leaves no weights."""
    return {"if": {"not": {"anyOf": [_runs(name) for name in KNOWN]}}, "then": {"not": {"required": ["keep"]}}}


def _runs(name: str) -> Schema:
    """Return the schema that files of this workload meet."""
    table = {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]}
    named: Schema = {"properties": {"workload": {"anyOf": [{"const": name}, table]}}}
    return named if name == DEFAULT else {**named, "required": ["workload"]}


def _one_or_more(value: Mapping[str, Any]) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value}]}
