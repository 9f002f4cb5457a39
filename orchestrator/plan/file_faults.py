"""What is wrong with the keys of a sweep file, as sentences: one for each key, however many types it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from sweeplaw.orchestrator.plan.limits import NOT_RETRIED
from sweeplaw.trials.errors import nearest, shown

_TYPES = ("str", "int", "float", "list[int]", "list[str]", "dict[str,any]")  # that pydantic adds to the path of a key
_WORDS = {
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid list": "a list",
    "a valid dictionary": "a table",
}
_SHOULD = "Input should be "


def sentences(
    error: pydantic.ValidationError, model: type[pydantic.BaseModel], tables: Mapping[str, type[pydantic.BaseModel]]
) -> list[str]:
    """Return a sentence for each faulty key: its path, the value seen, the values accepted.

    ``model`` is that of the file and ``tables`` those of its tables, whose keys are the accepted ones.
    """
    found: dict[tuple[str, ...], list[Any]] = {}
    for item in error.errors():
        found.setdefault(tuple(str(part) for part in item["loc"] if part not in _TYPES), []).append(item)
    parents = {path[:length] for path in found for length in range(1, len(path))}  # inferred from their contents
    return [_sentence(path, items, tables.get(path[0], model)) for path, items in found.items() if path not in parents]


def _sentence(path: tuple[str, ...], items: list[Any], model: type[pydantic.BaseModel]) -> str:
    """Return what is wrong with a key: several ``items`` are the types of which its value has none."""
    key, item = ".".join(path), items[0]
    if item["type"] == "extra_forbidden":
        if path[0] == "retry" and path[-1] in NOT_RETRIED:
            return f"{key}: {NOT_RETRIED[path[-1]]}; leave it out"
        valid = sorted(model.model_fields)
        return f"{key}: unknown key (accepted: {', '.join(valid)}){nearest(path[-1], valid)}"
    if item["type"] == "missing":
        return f"{key}: missing"
    if key == "name" and item["type"] == "string_pattern_mismatch":
        return f"name: {shown(item['input'])}; accepted are letters, digits, '.', '_' and '-', at most 64"
    messages = [str(item["msg"])] + [str(other["msg"]).removeprefix(_SHOULD) for other in items[1:]]
    message = " or ".join(dict.fromkeys(messages))
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return f"{key}: {shown(item['input'])}; {message[0].lower()}{message[1:]}"
