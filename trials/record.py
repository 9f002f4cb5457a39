"""Columns of the `trials` and `curves` tables, and the records that fill them.

The contract between the writer (orchestrator) and the reader (analysis), which never import each other. A row has the
core columns below, one column per knob of its workload and one per additional metric. Unknown values are null.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.spec import TrialSpec, Value

# Incremented when an old reader would misread a new store. A newer store is refused, an older one opens.
# 2: states `preempted` and `budget`, which a launcher of schema 1 would treat as finished.
# 3: state `paused`, which a launcher of schema 2 would treat as finished.
SCHEMA_VERSION = 3

State = Literal["completed", "diverged", "out_of_memory", "failed", "stopped", "preempted", "budget", "paused"]
STATES: tuple[State, ...] = get_args(State)
# Interrupted from outside, so not finished: the next launch resumes the trial, from its checkpoint if it has one.
# A paused trial waits at a step for the decision of its search.
UNFINISHED: frozenset[State] = frozenset({"preempted", "budget", "paused"})

ColumnType = Literal["int", "float", "str", "bool", "time"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: ColumnType
    unit: str
    meaning: str


TRIAL_COLUMNS: tuple[Column, ...] = (
    Column("trial_id", "str", "", "identity: hash of the workload and every knob"),
    Column("workload", "str", "", "which workload ran"),
    Column("sweep", "str", "", "name of the sweep that asked for the trial first"),
    Column("state", "str", "", f"{', '.join(STATES[:-1])} or {STATES[-1]}"),
    Column("message", "str", "", "why it did not complete, and notes on its reports; null without either"),
    Column("attempt", "int", "", "1 for the first try; higher after a worker died or a retry was asked for"),
    Column("params", "int", "parameters", "all trained parameters, embeddings included"),
    Column("params_embedding", "int", "parameters", "token embedding and output head"),
    Column("params_non_embedding", "int", "parameters", "everything but the token embedding and output head"),
    Column("tokens", "int", "tokens", "D: training tokens seen, repeats counted"),
    Column("unique_tokens", "int", "tokens", "U: distinct training tokens"),
    Column("epochs", "float", "passes", "tokens / unique_tokens"),
    Column("steps", "int", "steps", "optimizer steps planned"),
    Column("batch_sequences", "int", "sequences", "B in sequences"),
    Column("batch_tokens", "int", "tokens", "B in tokens"),
    Column("flops_per_token", "float", "FLOPs/token", "training FLOPs a token by the named convention"),
    Column("flops", "float", "FLOPs", "C: training FLOPs by the named convention"),
    Column("flops_convention", "str", "", "how FLOPs were counted"),
    Column("val_loss", "float", "nats/token", "last evaluation on the fixed validation tokens"),
    Column("train_loss", "float", "nats/token", "mean training loss over the last tenth of the run"),
    Column("last_step", "int", "steps", "optimizer steps done; below `steps` when the trial ended early"),
    Column("started_at", "time", "UTC", "when the trial began"),
    Column("ended_at", "time", "UTC", "when the trial ended"),
    Column("train_seconds", "float", "s", "wall seconds the trial held its device, evaluation included"),
    Column("pack_id", "str", "", "the pack that carried it"),
    Column("launch_id", "str", "", "the launch that recorded it; null for imported rows"),
    Column("host", "str", "", "machine that ran it"),
    Column("device", "str", "", "device kind that ran it"),
    Column("versions", "str", "", "versions of Python and the packages that decide the numbers, as JSON"),
    Column(
        "commit",
        "str",
        "",
        "commit of the sweeplaw checkout that ran, with + when it had local changes; null without one",
    ),
    Column("search_number", "int", "", "number of the proposal in the search of its sweep, from 0; null without one"),
    Column("search_known", "int", "", "results that the search knew when it proposed the trial"),
    Column("search_reason", "str", "", "why the search proposed the trial"),
    Column("search_setting", "str", "", "the values of the sweep's axes that the search proposed, as JSON"),
    Column("source", "str", "", "where an imported row came from; null for our own runs"),
    Column("spec", "str", "", "canonical JSON of the spec"),
)

CURVE_COLUMNS: tuple[Column, ...] = (
    Column("trial_id", "str", "", "the trial"),
    Column("attempt", "int", "", "which attempt of the trial"),
    Column("step", "int", "steps", "optimizer steps done"),
    Column("tokens", "int", "tokens", "training tokens seen so far"),
    Column("train_loss", "float", "nats/token", "mean training loss since the row before"),
    Column("val_loss", "float", "nats/token", "loss on the fixed validation tokens"),
    Column("lr", "float", "", "learning rate of the step"),
    Column("grad_norm", "float", "", "global gradient norm before clipping"),
)

# Columns that a knob or a metric may fill, because it has the same meaning.
SHARED_COLUMNS = frozenset(
    [
        "params",
        "params_embedding",
        "params_non_embedding",
        "tokens",
        "unique_tokens",
        "epochs",
        "steps",
        "batch_sequences",
        "batch_tokens",
        "flops_per_token",
        "flops",
        "flops_convention",
        "val_loss",
        "train_loss",
    ]
)
# Workloads whose losses are no nats a token, with their unit: N and D are of any size, as in the user's own trials.
LOSS_UNITS: Mapping[str, str] = {
    "modular_arithmetic": "nats/answer",
    **dict.fromkeys(("ridge", "linear_dynamics"), "squared error"),
}
# Workloads that measure when an event occurred, with the events: columns NAME_step, null where it did not, and
# NAME_censored_step, the last step at which it was looked for in vain.
EVENTS: Mapping[str, tuple[str, ...]] = {"modular_arithmetic": ("grok", "memorized")}
# The workloads that score kept models. Rows of the first are losses of tasks: no runs that a law or a best setting may
# learn from. Those of the second are losses of ensembles of kept models.
TASK_SCORES, ENSEMBLE_SCORES = "evaluation", "ensemble"
# Where a sweep of one's own trials gives `params` alone; said wherever N is needed.
N_UNKNOWN = (
    "N (params_non_embedding) is null, because params is known and params_embedding is not; declare "
    "params_embedding = 0 under [workload.knobs], or name another column as N"
)
RESERVED_COLUMNS = frozenset([*(column.name for column in TRIAL_COLUMNS), "exclusion_reason"]) - SHARED_COLUMNS


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One row of the `curves` table. ``metrics`` holds additional named numbers."""

    trial_id: str
    step: int
    tokens: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    attempt: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the point as one flat row; unknown values are None."""
        core = {column.name: getattr(self, column.name) for column in CURVE_COLUMNS}
        return {**core, **self.metrics}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one trial ended, by its workload. ``metrics`` are columns of the trials table, val_loss included."""

    trial_id: str
    state: State
    message: str | None = None
    last_step: int | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    train_seconds: float | None = None
    metrics: Mapping[str, Value | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where and with which software a trial ran. Host and device are None if its worker died."""

    host: str | None
    device: str | None
    versions: str
    commit: str | None


@dataclass(frozen=True, slots=True)
class SearchNote:
    """Why a search proposed a trial: the columns ``search_number``, ``search_known``, ``search_reason`` and
    ``search_setting``.
    """

    number: int
    known: int
    reason: str
    setting: str


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """Spec, cost, outcome and provenance of one trial: one row of the `trials` table."""

    spec: TrialSpec
    cost: Cost
    outcome: Outcome
    sweep: str
    attempt: int
    pack_id: str
    launch_id: str | None
    provenance: Provenance
    search: SearchNote | None = None

    def row(self) -> dict[str, Any]:
        """Return the record as one flat row: core columns, knobs and metrics. Unknown values are None."""
        row: dict[str, Any] = {column.name: None for column in TRIAL_COLUMNS}
        row.update(self.spec.knobs)
        row.update({name: value for name, value in self.cost.columns().items() if value is not None})
        row.update({name: value for name, value in self.outcome.metrics.items() if value is not None})
        row.update(
            trial_id=self.spec.trial_id,
            workload=self.spec.workload,
            sweep=self.sweep,
            state=self.outcome.state,
            message=self.outcome.message,
            attempt=self.attempt,
            last_step=self.outcome.last_step,
            started_at=self.outcome.started_at,
            ended_at=self.outcome.ended_at,
            train_seconds=self.outcome.train_seconds,
            pack_id=self.pack_id,
            launch_id=self.launch_id,
            host=self.provenance.host,
            device=self.provenance.device,
            versions=self.provenance.versions,
            commit=self.provenance.commit,
            spec=self.spec.canonical(),
        )
        if self.search is not None:
            row.update(
                search_number=self.search.number,
                search_known=self.search.known,
                search_reason=self.search.reason,
                search_setting=self.search.setting,
            )
        return row


Row = TrialRecord | CurvePoint  # one row of one of the two tables, as a worker yields it


def flops_done(row: Mapping[str, Any], before: int = 0) -> float | None:
    """Return the FLOPs of a trial, by its row, for the steps that it did beyond ``before``; of all its steps where
    those done are unknown.
    """
    flops, steps, done = row.get("flops"), row.get("steps"), row.get("last_step")
    if flops is None or not steps:
        return None if flops is None else float(flops)
    last = steps if row["state"] == "completed" or done is None else min(done, steps)
    return float(flops * max(0, last - before) / steps)
