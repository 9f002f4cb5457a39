"""How the answers of commands are described: records, lists and tables by name of values, most of which may be unknown.

Unknown is null, so every value may be null that is not `known`. A record may get further keys in a later version; those
described stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from sweeplaw.orchestrator.schemas.models import Schema

NUMBER: Mapping[str, Any] = {"type": ["number", "null"]}
TEXT: Mapping[str, Any] = {"type": ["string", "null"]}
FLAG: Mapping[str, Any] = {"type": ["boolean", "null"]}
KNOB: Mapping[str, Any] = {"type": ["number", "string", "boolean", "null"]}  # the value of a knob, or in a table
COUNT: Mapping[str, Any] = {"type": "integer"}
WORDS: Mapping[str, Any] = {"type": "string"}
TRUTH: Mapping[str, Any] = {"type": "boolean"}
ANYTHING: Mapping[str, Any] = {}
_SOMETIMES = "sometimes"


def sometimes(value: Mapping[str, Any]) -> Schema:
    """Return the schema of a key that is there only where an option or the data asks for it."""
    return {**value, _SOMETIMES: True}


def known(value: Mapping[str, Any]) -> Schema:
    """Return the schema of a value that is never null."""
    if isinstance(value["type"], str):
        return dict(value)
    kinds = [kind for kind in value["type"] if kind != "null"]
    return {**value, "type": kinds[0] if len(kinds) == 1 else kinds}


def means(meaning: str, value: Mapping[str, Any]) -> Schema:
    """Return the schema of a value with its meaning."""
    return {"description": meaning, **value}


def each(value: Mapping[str, Any]) -> Schema:
    """Return the schema of a list of such values."""
    return {"type": ["array", "null"], "items": dict(value)}


def by_name(value: Mapping[str, Any]) -> Schema:
    """Return the schema of values by a name that the data give: a knob, a state, a parameter of a law."""
    return {"type": ["object", "null"], "additionalProperties": dict(value)}


def record(keys: Mapping[str, Mapping[str, Any]]) -> Schema:
    """Return the schema of a record with these keys."""
    properties = {
        name: {part: said for part, said in value.items() if part != _SOMETIMES} for name, value in keys.items()
    }
    required = [name for name, value in keys.items() if _SOMETIMES not in value]
    return {"type": ["object", "null"], "properties": properties, "required": required}


def listed(value: Mapping[str, Any]) -> Schema:
    """Return the schema of a list, never null, of such values."""
    return known(each(value))


def named(value: Mapping[str, Any]) -> Schema:
    """Return the schema of values by name (`by_name`), never null."""
    return known(by_name(value))


def whole(keys: Mapping[str, Mapping[str, Any]]) -> Schema:
    """Return the schema of a record with these keys, never null."""
    return known(record(keys))


def rows(keys: Mapping[str, Mapping[str, Any]]) -> Schema:
    """Return the schema of a list, never null, of records with these keys."""
    return listed(whole(keys))


def beside(found: Mapping[str, Any], others: Mapping[str, Any]) -> Schema:
    """Return the schema of a record that has, beside its own keys, such values by names that the data give."""
    return {**found, "additionalProperties": dict(others)}


def of_type(kind: Any, meanings: Mapping[str, str] | None = None) -> Schema:
    """Return the schema of a dataclass as a record, null where its type says so, and numbers that may be NaN.

    ``meanings`` are those of its fields, by name; of a field of a record in a field, ``field.name``.
    """
    schema = pydantic.TypeAdapter(kind).json_schema(mode="serialization", ref_template="{model}")
    found = _opened(schema, schema.get("$defs", {}))
    for path, meaning in (meanings or {}).items():
        *outer, name = path.split(".")
        table = found
        for step in outer:
            table = _inside(table["properties"][step])
        table["properties"][name] = means(meaning, table["properties"][name])
    return found


def _inside(schema: Schema) -> Schema:
    """Return the schema of the records in a list, a table by name, or none of both."""
    inner = schema.get("items") or (None if "properties" in schema else schema.get("additionalProperties"))
    return _inside(inner) if isinstance(inner, dict) else schema


def _opened(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return a schema of pydantic in the form of this module, with nothing by reference."""
    if "$ref" in schema:
        return _opened(definitions[schema["$ref"]], definitions)
    if "anyOf" in schema:
        parts = [_opened(part, definitions) for part in schema["anyOf"] if part != {"type": "null"}]
        unknown = {"type": "null"} in schema["anyOf"]
        return _or_null(parts[0]) if unknown and len(parts) == 1 else parts[0] if len(parts) == 1 else {"anyOf": parts}
    kind = schema.get("type")
    if "properties" in schema:
        fields = {name: _opened(part, definitions) for name, part in schema["properties"].items()}
        return whole(fields)
    if kind == "object":
        inside = schema.get("additionalProperties", {})
        return named(_opened(inside, definitions) if isinstance(inside, Mapping) else {})
    if kind == "array":
        inside = schema["items"] if "items" in schema else {"anyOf": _distinct(schema)}
        return listed(_opened(inside, definitions))
    plain = {"integer": COUNT, "number": NUMBER, "string": WORDS, "boolean": TRUTH}
    return dict(plain.get(str(kind), ANYTHING))


def _distinct(schema: Mapping[str, Any]) -> list[Any]:
    """Return the different kinds of values in a tuple."""
    found: list[Any] = []
    for part in schema.get("prefixItems", ()):
        found += [] if part in found else [part]
    return found


def _or_null(schema: Schema) -> Schema:
    kinds = known(schema)["type"]
    return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
