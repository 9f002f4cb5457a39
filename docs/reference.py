"""The reference of sweep files and profiles in docs/reference.md and docs/schemas/, from the models that check them.

python docs/reference.py            # rewrite them
python docs/reference.py --check    # exit code 1 if one is out of date
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pydantic

from sweeplaw.clusters.profile import toml_file
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan import search_options, sizes
from sweeplaw.orchestrator.plan.sweep import SweepFile
from sweeplaw.orchestrator.schemas import catalog
from sweeplaw.orchestrator.schemas.workload_settings import SETTINGS
from sweeplaw.trials import expression

PAGE = Path(__file__).resolve().parent / "reference.md"
SCHEMAS = PAGE.parent / "schemas"
EXAMPLE = """\
name = "reference"
workload = "surrogate"
seeds = 2
where = "tokens <= 40 * params"

[scientific]
params = { log = [1e7, 1e9], num = 3 }

[[zip]]
role = "nuisance"                      # these two move together
batch_sequences = [64, 128, 256]
weight_decay = [0.4, 0.2, 0.1]

[nuisance]
lr = { log = [1e-4, 1e-1] }            # a range without num, which a random search draws from

[derived]
tokens = "20 * params"

[search]
kind = "random"
samples = 16

[retry]
failed = 1
worker_died = 3

[budget]
trials = 200
device_hours = 5000
"""
HEAD = f"""# Keys of sweep files and profiles

Made by `python docs/reference.py` from the models that check these files; a test keeps it up to date. What the keys are
for is in [usage.md](usage.md) and [clusters.md](clusters.md).

Editors (Taplo, Even Better TOML) complete and check them: write `sweeplaw schema sweep > sweep.json` beside your sweep
file, and `#:schema sweep.json` as its first line; `sweeplaw schema profile` is for profiles. Both are also here, as
[schemas/sweep.json](schemas/sweep.json) and [schemas/profile.json](schemas/profile.json).

Both are TOML files of at most {toml_file.LONGEST:,} characters and {toml_file.DEEPEST} levels. Whole numbers have 64
bits, and no number is infinite or NaN. A sweep has at most {sizes.MOST_COMBINATIONS:,} combinations before `where`,
{sizes.MOST_GROUPS:,} of them of different cost (the seed, the learning rate and the weight decay do not change it), and
{sizes.MOST_AXES:,} axes; a larger one is split into several files, which may share a store. A formula has at most
{expression.MAX_LENGTH:,} characters and {expression.MAX_DEPTH} levels.
"""
ZIP = "A block `[[zip]]` has `role` (`scientific` or `nuisance`) and two or more knobs with lists of one length.\n"
WORKLOADS = """\
## [workload]

What a trial is: `workload = "NAME"`, or a table with its `kind` and settings. The kinds are `language_model`,
`surrogate` (no settings), `ensemble`, `evaluation`, `replay`, `command` and `python:MODULE:FUNCTION`.
[usage.md](usage.md) and [examples/own_script](../examples/own_script/README.md) say what they are for.
"""
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "object": "table"}


def tables(name: str, model: type[pydantic.BaseModel]) -> Iterator[tuple[str, type[pydantic.BaseModel]]]:
    """Yield the model, and the models of the tables in it, each with its name in the file."""
    yield name, model
    for key, field in model.model_fields.items():
        if inner := _table(field.annotation):
            yield from tables(f"[{key}]", inner)


def _table(annotation: Any) -> type[pydantic.BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel):
            return kind
    return None


def section(name: str, model: type[pydantic.BaseModel]) -> str:
    """Return the section of one table: what its keys mean, then each key with its type and default."""
    about = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    schema = model.model_json_schema()["properties"]
    rows = [
        f"| `{key}` | {kind(schema[key])} | {default(field)} |"
        for key, field in model.model_fields.items()
        if not _table(field.annotation) and (name, key) != ("Sweep files", "search")
    ]
    return "\n".join([f"## {name}\n", f"{about}\n", "| key | value | without it |", "|---|---|---|", *rows]) + "\n"


def kind(schema: Mapping[str, Any]) -> str:
    """Return the values that a JSON schema accepts, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(part) for part in schema["anyOf"] if part.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}s"
    words = KINDS.get(schema.get("type", ""), "value")
    bounds = [
        f"{sign} {schema[name]:,}"
        for name, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
        if name in schema
    ]
    examples = " or ".join(f"`{json.dumps(value)}`" for value in schema.get("examples", ()))
    return ", ".join([words, *bounds, *[f"such as {examples}"] * bool(examples)])


def default(field: Any) -> str:
    """Return the value of a key that is not given."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "–"
    return f"`{json.dumps(value)}`"


def workloads() -> str:
    """Return the section of the settings of workloads."""
    rows = [f"| `{one.key}` | {', '.join(one.kinds)} | {one.words} | {one.default} |" for one in SETTINGS]
    return "\n".join([WORKLOADS, "| key | of | value | without it |", "|---|---|---|---|", *rows]) + "\n"


def page() -> str:
    """Return docs/reference.md."""
    sweep = [section(name, model) for name, model in tables("Sweep files", SweepFile)]
    by_model: dict[type[pydantic.BaseModel], list[str]] = {}
    for search, model in search_options.KINDS.items():
        by_model.setdefault(model, []).append(search)
    searches = [
        section(name, model)
        for found, kinds in by_model.items()
        for name, model in tables(f"[search] with kind = {' or '.join(json.dumps(search) for search in kinds)}", found)
        if model is not search_options.EarlyStoppingOptions
    ]
    searches.append(section("[search.early_stopping]", search_options.EarlyStoppingOptions))
    profiles = [section(name, model) for name, model in tables("Profiles", Profile)]
    example = f"An example of every table:\n\n```toml\n{EXAMPLE}```\n"
    return "\n".join([HEAD, sweep[0], ZIP, example, workloads(), *searches, *sweep[1:], *profiles])


if __name__ == "__main__":
    from generated import write_or_check  # beside this script

    files = {PAGE: page(), **{SCHEMAS / f"{name}.json": catalog.text(name) for name in catalog.FILES}}
    sys.exit(max(write_or_check(path, text) for path, text in files.items()))
