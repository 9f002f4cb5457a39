"""The reference of what commands answer with ``--json`` in docs/json.md, from the schemas of these answers.

python docs/json_answers.py            # rewrite docs/json.md
python docs/json_answers.py --check    # exit code 1 if it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.schemas.answers import ANSWERS

PAGE = Path(__file__).resolve().parent / "json.md"
HEAD = """# Answers as JSON

Made by `python docs/json_answers.py` from the schemas of the answers; tests compare these with what the commands print.

With `--json` a command prints one JSON value in UTF-8 to stdout, and messages to stderr. `sweeplaw schema COMMAND`
prints its JSON Schema (`sweeplaw schema "forecast score"` for a command of a group). What is unknown is null, and so
are NaN and infinity. Keys marked as *sometimes* are there only where an option or the data ask for them. Later versions
may add keys; those here keep their names and meanings.

Keys are written as `jq` takes them: `[]` stands for each value of a list, and here `NAME` for a name that the data give
(a knob, a state, a parameter of a law). A *value* is a number, a text, true, false or null: that of a knob, or in a
column of a table.

Exit code 2 is bad input, without an answer; with 3 the answer lacks what damaged files held; with 5 trials have failed.
"""
WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
PLURALS = {"whole number": "whole numbers", "number": "numbers", "text": "texts", "table": "tables", "value": "values"}


def kind(schema: Mapping[str, Any]) -> str:
    """Return the kind of a value in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(kind, schema["anyOf"])))
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else list(types)
    if {*names} >= {"number", "string", "boolean"}:
        return "value"
    return " or ".join(_word(name, schema) for name in names) or "anything"


def _word(name: str, schema: Mapping[str, Any]) -> str:
    if name == "array":
        return f"list of {_several(schema['items'])}"
    if name == "object":
        return "table" if "properties" in schema else f"{_several(schema['additionalProperties'])} by name"
    return WORDS[name]


def _several(schema: Mapping[str, Any]) -> str:
    """Return the kind of several values in words."""
    first, *others = kind(schema).split(" or ")
    first = f"lists {first.removeprefix('list ')}" if first.startswith("list ") else PLURALS.get(first, first)
    unknown = " (or null)" if others[-1:] == ["null"] else ""
    return " or ".join([first, *others]).removesuffix(" or null") + unknown


def section(command: str, schema: Mapping[str, Any], seen: dict[str, str]) -> str:
    """Return the section of one command. ``seen`` has the tables that are described already, and where."""
    about = f"{schema['description'][:1].upper()}{schema['description'][1:]}.\n\n" if "description" in schema else ""
    lead = "A list of tables with these keys:\n\n" if "items" in schema and _table(schema["items"]) else ""
    rows = list(_rows(command, schema, "", seen))
    heads = ["| key | value | meaning |", "|---|---|---|"] if rows else []
    return f"## {command}\n\n{about}{lead}" + "\n".join([*heads, *rows]) + "\n"


def _rows(command: str, schema: Mapping[str, Any], path: str, seen: dict[str, str]) -> Iterator[str]:
    """Yield a row for each key of the tables in a schema, those of tables in it after its own key."""
    for key, value, always in _keys(schema):
        place = f"{path}.{key}"
        inner = f"{place}{_step(value)}"
        known = seen.setdefault(repr(_keys(value)), f"`{inner}` of {command}") if _keys(value) else ""
        new = known == f"`{inner}` of {command}"
        more = "" if not known or new else f" (keys: see {known})"
        marks = f"{more}{'' if always else ' (sometimes)'}"
        yield f"| `{place}` | {kind(value)} | {value.get('description', '')}{marks} |"
        if new:
            yield from _rows(command, value, inner, seen)


def _keys(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Return the keys of the tables in a schema, each with its own schema and whether it is always there."""
    tables = _table(schema)
    found: dict[str, tuple[str, Mapping[str, Any], bool]] = {}
    for table in tables:
        for key, value in table["properties"].items():
            always = all(key in other.get("required", []) for other in tables)
            if key not in found:
                found[key] = (key, value, always)
            elif value["type"] == "null":  # in one of the tables
                found[key] = (key, {**found[key][1], "type": [found[key][1]["type"], "null"]}, always)
    return list(found.values())


def _table(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the tables that a value is or holds: several where it may be one of several."""
    if "properties" in schema:
        return [schema]
    parts = [*schema.get("anyOf", []), schema.get("items"), schema.get("additionalProperties")]
    return [table for part in parts if isinstance(part, Mapping) for table in _table(part)]


def _step(schema: Mapping[str, Any]) -> str:
    """Return what leads from a key to the tables in it: [] for a list, .NAME for a table by name."""
    if "properties" in schema or "anyOf" in schema:
        return ""
    if "items" in schema:
        return f"[]{_step(schema['items'])}"
    return f".NAME{_step(schema['additionalProperties'])}" if "additionalProperties" in schema else ""


def page() -> str:
    """Return docs/json.md."""
    seen: dict[str, str] = {}
    return "\n".join([HEAD, *(section(command, schema, seen) for command, schema in ANSWERS.items())]).rstrip() + "\n"


if __name__ == "__main__":
    from generated import write_or_check  # beside this script

    sys.exit(write_or_check(PAGE, page()))
