"""How the answers of commands are described: records, lists and tables by name of values, any of which may be unknown.

Unknown is null, so every value may be null. A record may get further keys in a later version; those described stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from sweeplaw.orchestrator.schemas.models import Schema

NUMBER: Mapping[str, Any] = {"type": ["number", "null"]}
TEXT: Mapping[str, Any] = {"type": ["string", "null"]}
FLAG: Mapping[str, Any] = {"type": ["boolean", "null"]}
ANYTHING: Mapping[str, Any] = {}
_SOMETIMES = "sometimes"


def sometimes(value: Mapping[str, Any]) -> Schema:
    """Return the schema of a key that is there only where an option or the data asks for it."""
    return {**value, _SOMETIMES: True}


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


def of_type(kind: Any, meanings: Mapping[str, str] | None = None) -> Schema:
    """Return the schema of a dataclass as a record; ``meanings`` are those of its fields, by name."""
    schema = pydantic.TypeAdapter(kind).json_schema(mode="serialization", ref_template="{model}")
    found = _opened(schema, schema.get("$defs", {}))
    for name, meaning in (meanings or {}).items():
        found["properties"][name] = means(meaning, found["properties"][name])
    return found


def _opened(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return a schema of pydantic in the form of this module: nothing by reference, everything possibly null."""
    if "$ref" in schema:
        return _opened(definitions[schema["$ref"]], definitions)
    if "anyOf" in schema:
        parts = [_opened(part, definitions) for part in schema["anyOf"] if part != {"type": "null"}]
        return parts[0] if len(parts) == 1 else {"anyOf": parts}
    kind = schema.get("type")
    if "properties" in schema:
        return record({name: _opened(part, definitions) for name, part in schema["properties"].items()})
    if kind == "object":
        inside = schema.get("additionalProperties", {})
        return by_name(_opened(inside, definitions) if isinstance(inside, Mapping) else {})
    if kind == "array":
        return each(_opened(schema["items"], definitions) if "items" in schema else {})
    plain = {"integer": NUMBER, "number": NUMBER, "string": TEXT, "boolean": FLAG}
    return dict(plain.get(str(kind), ANYTHING))
