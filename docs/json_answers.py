"""The reference of what commands answer with ``--json`` in docs/json.md, from the schemas of these answers.

python docs/json_answers.py            # rewrite docs/json.md
python docs/json_answers.py --check    # exit code 1 if it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.schemas.answers import ANSWERS

PAGE = Path(__file__).resolve().parent / "json.md"
HEAD = """# Answers as JSON

Made by `python docs/json_answers.py` from the schemas of the answers; tests compare these with what the commands print.

With `--json` a command prints one JSON value in UTF-8 to stdout, and messages to stderr. `sweeplaw schema COMMAND`
prints its JSON Schema (`sweeplaw schema "forecast score"` for a command of a group). What is unknown is null, and so
are NaN and infinity, so any value may be null. Keys marked as *sometimes* are there only where an option or the data
ask for them. Later versions may add keys; those here keep their names and meanings.

Exit code 2 is bad input, without an answer; with 3 the answer lacks what damaged files held; with 5 trials have failed.
"""
MOST_NAMED = 7  # keys of a table inside a table
WORDS = {"number": "number", "string": "text", "boolean": "true or false", "object": "table", "array": "list"}


def kind(schema: Mapping[str, Any]) -> str:
    """Return the kind of a value in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(kind, schema["anyOf"])))
    types = schema.get("type", [])
    names = [name for name in ([types] if isinstance(types, str) else types) if name != "null"]
    inside = schema.get("items", {})
    if names == ["array"] and kind(inside) in ("number", "text", "table"):
        return f"list of {kind(inside).removesuffix('s')}s".replace("texts", "text")
    if names == ["object"] and "properties" in schema and len(schema["properties"]) > MOST_NAMED:
        return f"table of {len(schema['properties'])} keys"
    if names == ["object"] and "properties" in schema:
        return "table of " + ", ".join(f"`{key}`" for key in schema["properties"])
    if names == ["object"]:
        return "table by name"
    if names == ["array"] and "properties" in inside:
        return "list of tables of " + ", ".join(f"`{key}`" for key in inside["properties"])
    return " or ".join(WORDS[name] for name in names) or "any value"


def section(command: str, schema: Mapping[str, Any]) -> str:
    """Return the section of one command."""
    many = "items" in schema and "properties" not in schema
    table = schema["items"] if many else schema
    about = f"{schema['description'][:1].upper()}{schema['description'][1:]}.\n\n" if "description" in schema else ""
    lead = "A list of tables with these keys:\n\n" if many and "properties" in table else ""
    rows = [
        f"| `{key}` | {kind(value)} | {value.get('description', '')}{_marked(key in table.get('required', []))} |"
        for key, value in table.get("properties", {}).items()
    ]
    heads = ["| key | value | meaning |", "|---|---|---|"] if rows else []
    return f"## {command}\n\n{about}{lead}" + "\n".join([*heads, *rows]) + "\n"


def _marked(always: bool) -> str:
    return "" if always else " (sometimes)"


def page() -> str:
    """Return docs/json.md."""
    return "\n".join([HEAD, *(section(command, schema) for command, schema in ANSWERS.items())]).rstrip() + "\n"


if __name__ == "__main__":
    from generated import write_or_check  # beside this script

    sys.exit(write_or_check(PAGE, page()))
