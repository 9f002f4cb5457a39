"""The JSON Schema of a pydantic model in the form that editors of TOML read: draft 7, without null and titles."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pydantic

DRAFT = "http://json-schema.org/draft-07/schema#"
TEXT: Mapping[str, Any] = {"type": "string"}
Schema = dict[str, Any]


def of_model(model: type[pydantic.BaseModel], definitions: Schema) -> Schema:
    """Return the schema of a table that this model checks; the tables in it are added to ``definitions``."""
    schema: Schema = _tidy(model.model_json_schema(mode="validation"))
    definitions.update(schema.pop("$defs", {}))
    return schema


def closed(properties: Mapping[str, Any], required: tuple[str, ...] = (), about: str = "") -> Schema:
    """Return the schema of a table with these keys and no others."""
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return {"description": about, **schema} if about else schema


def list_of(values: Mapping[str, Any]) -> Schema:
    """Return the schema of a list, not empty, of such values."""
    return {"type": "array", "items": values, "minItems": 1}


def _tidy(schema: Any) -> Any:
    """Return a schema without titles and null, descriptions in one paragraph a blank line."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    found = {name: _tidy(part) for name, part in schema.items() if not _left_out(name, part)}
    if len(found.get("anyOf", ())) == 1:
        found = {**found.pop("anyOf")[0], **found}
    if isinstance(found.get("description"), str):
        found["description"] = inspect.cleandoc(found["description"]).replace("``", "`")
    if "patternProperties" in found and "type" in found:  # keys of a model, checked by a pattern
        found.setdefault("additionalProperties", False)
    if "$ref" in found and len(found) > 1:  # draft 7 ignores what stands beside a reference
        found["allOf"] = [{"$ref": found.pop("$ref")}]
    return found


def _left_out(name: str, part: Any) -> bool:
    return (name == "title" and isinstance(part, str)) or (name == "default" and part in (None, {}, []))
