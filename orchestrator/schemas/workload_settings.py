"""The settings in a table ``[workload]`` of a sweep file: which kinds have them, and the values that they take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sweeplaw.orchestrator.schemas.models import TEXT, Schema, closed, list_of
from sweeplaw.trials.spec import KnobType
from sweeplaw.trials.tasks import names as tasks
from sweeplaw.trials.workloads.replay.recorded import COST
from sweeplaw.trials.workloads.user_code import command

BUILT_IN = (
    "language_model",
    "modular_arithmetic",
    "surrogate",
    "ridge",
    "linear_dynamics",
    "ensemble",
    "evaluation",
    "replay",
    "command",
)
PYTHON = r"^python:[^\s:]+:[^\s:]+$"  # module and function

_NON_EMPTY = {"type": "string", "minLength": 1}
_BOUND = {"type": "number", "minimum": 0}
_SCALAR = {"type": ["number", "string", "boolean"]}
_TEXTS = {"type": "object", "additionalProperties": TEXT}
_KNOB = closed(
    {
        "type": {"enum": list(get_args(KnobType))},
        "default": _SCALAR,
        "unit": TEXT,
        "meaning": TEXT,
        "member": {"type": "boolean"},
        "choices": {"type": "array", "items": TEXT},
        "low": {"type": "number"},
        "high": {"type": "number"},
        "since": TEXT,
    },
    about="A knob of your code. `since` is for one added after trials have run, with the default at which they ran.",
)
_KNOBS = {"type": "object", "additionalProperties": {"anyOf": [_SCALAR, _KNOB]}}
_METRIC = closed({"from": TEXT, "unit": TEXT, "meaning": TEXT})
_METRICS = {"type": "object", "additionalProperties": {"anyOf": [TEXT, _METRIC]}}


@dataclass(frozen=True, slots=True)
class WorkloadSetting:
    """A key of ``[workload]`` of these ``kinds``: its values in ``words`` and as a JSON ``schema``, and ``default``,
    what holds without it (in Markdown).
    """

    kinds: tuple[str, ...]
    key: str
    words: str
    default: str
    schema: Mapping[str, Any]

    @property
    def required(self) -> bool:
        """Whether the table must have it."""
        return self.default == "required"


_CODE = ("command", "python")
SETTINGS = (
    WorkloadSetting(("command",), "argv", "list of texts with placeholders", "required", list_of(TEXT)),
    WorkloadSetting(("command",), "env", "table of texts with placeholders", "`{}`", _TEXTS),
    WorkloadSetting(("command",), "cwd", "text with placeholders: a folder", "that of the sweep file", TEXT),
    WorkloadSetting(("command",), "reports", "text with placeholders: a file of JSON lines or CSV", "stdout", TEXT),
    WorkloadSetting(
        ("command",),
        "pattern",
        "regular expression with named groups, or list of them",
        "–",
        {"anyOf": [TEXT, {"type": "array", "items": TEXT}]},
    ),
    WorkloadSetting(("command",), "timeout_seconds", "number, ≥ 0", "–", _BOUND),
    WorkloadSetting(("command",), "grace_seconds", "number, ≥ 0", f"`{command.GRACE_SECONDS}`", _BOUND),
    WorkloadSetting(
        ("command",),
        "retry_exit_codes",
        "list of whole numbers, ≥ 1, ≤ 255",
        "`[]`",
        {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 255}},
    ),
    WorkloadSetting(
        _CODE, "knobs", "table: `name = default`, or the table of usage.md", "by the values of the axes", _KNOBS
    ),
    WorkloadSetting(_CODE, "metrics", "table: `name = their name`, or `from`, `unit` and `meaning`", "`{}`", _METRICS),
    WorkloadSetting(
        _CODE,
        "resources",
        "table of `cpus` and `gpus`",
        "those of the profile",
        closed({"cpus": _BOUND, "gpus": _BOUND}),
    ),
    WorkloadSetting(_CODE, "divergence_loss", "number, ≥ 0", "–", _BOUND),
    WorkloadSetting(_CODE, "checkpoints", "true or false", "`false`", {"type": "boolean"}),
    WorkloadSetting(("replay",), "table", "text: a store, or a CSV, Parquet or NDJSON file", "required", _NON_EMPTY),
    WorkloadSetting(("replay",), "loss", "text: a column", '`"val_loss"`', _NON_EMPTY),
    WorkloadSetting(("replay",), "columns", "table: `knob = column`", "the knob's own name", _TEXTS),
    WorkloadSetting(
        ("replay",), "cost", "text: a column, or a formula over columns", f"`{json.dumps(COST)}`", _NON_EMPTY
    ),
    WorkloadSetting(("replay",), "curve", "text: a column of lists", "–", _NON_EMPTY),
    WorkloadSetting(
        ("replay",),
        "size",
        "list of texts: knobs",
        "those that are sizes by name, such as N and D",
        {"type": "array", "items": TEXT},
    ),
    WorkloadSetting(
        ("ensemble", "evaluation"), "store", "text: the store with the kept weights", "required", _NON_EMPTY
    ),
    WorkloadSetting(
        ("language_model",), "store", "text: the store with kept weights and sampled text", "–", _NON_EMPTY
    ),
    WorkloadSetting(
        ("language_model",),
        "tasks",
        "table: `name = task`, such as `choice:FILE`",
        "`{}`",
        {
            "type": "object",
            "additionalProperties": {"type": "string", "pattern": rf"^({'|'.join(tasks.KINDS)}):."},
            "propertyNames": {"pattern": r"^[^\WA-Z\d][^\WA-Z]*$"},
        },
    ),
)


def workload() -> Schema:
    """Return the schema of the key ``workload``: a name, or a table of its kind and settings."""
    by_name = [kind for kind in BUILT_IN if not any(one.required for one in _of(kind))]
    tables = [_table(kind, {"const": kind}) for kind in BUILT_IN]
    python = _table("python", {"type": "string", "pattern": PYTHON})
    return {
        "description": "What a trial runs: its name, or a table of its kind and settings.",
        "default": "language_model",
        "anyOf": [{"enum": by_name}, {"type": "string", "pattern": PYTHON}, *tables, python],
    }


def _of(kind: str) -> list[WorkloadSetting]:
    return [setting for setting in SETTINGS if kind in setting.kinds]


def _table(kind: str, name: Schema) -> Schema:
    settings = _of(kind)
    keys = {one.key: {"description": one.words.capitalize(), **one.schema} for one in settings}
    return closed({"kind": name, **keys}, ("kind", *(one.key for one in settings if one.required)))
