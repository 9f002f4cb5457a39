"""The workload `replay`: a trial whose outcome is looked up in a recorded table.

    [workload]
    kind = "replay"
    table = "runs.csv"                       # a store, or a CSV, Parquet or NDJSON file
    loss = "final loss"                      # default: val_loss
    columns = { lr = "learning_rate" }       # where a knob and its column have different names
    cost = "6 * N * D"                       # FLOPs: a column, or a formula over columns
    curve = "losses"                         # a list of losses or of [step, loss]; a store has its own
    size = ["N", "D"]                        # knobs that make up the size of a run

A trial gets the loss of the recorded run that is nearest to its setting (``reading = "nearest"``), or that of a smooth
surface through the runs of its size (``"smooth"``). It fails if the nearest run is farther than ``farthest`` octaves.
"""

from __future__ import annotations

import datetime as dt
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.quantities import plain
from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.replay.recorded import COST, SIZES, RecordedColumns
from sweeplaw.trials.workloads.replay.recordings import Recording, Recordings, recordings, source
from sweeplaw.trials.workloads.user_code import declared

OPTIONS = ("table", "loss", "columns", "cost", "curve", "size")
READINGS = ("nearest", "smooth")
FARTHEST = 0.5  # octaves: a step of a usual grid
SIZE_NAMES = (*SIZES, *SIZES.values(), "params", "unique_tokens", "epochs")

KNOBS = (
    Knob("reading", "str", "nearest", "", "nearest recorded run, or a smooth surface", choices=READINGS),
    Knob("farthest", "float", FARTHEST, "octaves", "distance of the nearest run beyond which a trial fails", low=0),
    Knob("noise", "float", 0.0, "", "standard deviation of noise, relative to the loss", member=True, low=0, high=1),
    Knob("seed", "int", 0, "", "which of the runs at one setting, and which noise", member=True),
)
RECORDED = "recorded_table"  # the knob that makes the content of the table part of a trial's identity


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The workload ``replay``."""

    knobs: tuple[Knob, ...]
    recordings: Recordings
    resumes: bool  # a trial continues by repeating its curve: it needs no checkpoint
    name: str = "replay"
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = False
    keeps: bool = False
    divides_micro_batch: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> Replay:
        """Return the replay of the table in ``options``, which is read here: it has the costs that a plan needs.

        Raise InputError with every fault.
        """
        faults = declared.unknown_options(options, OPTIONS)
        if rest:
            faults.append(f"workload = 'replay:{rest}' is not known (accepted: 'replay', with a table)")
        faults += _wrong_types(options)
        own = {knob.name for knob in KNOBS}
        axes = {name: values for name, values in (options.get("axes") or {}).items() if name not in own}
        knobs = declared.knobs(None, {name: values for name, values in axes.items() if name != RECORDED}, faults)
        named = tuple(knob for knob in knobs if knob.name not in own)
        if not faults and not named:
            faults.append("replay: the sweep sets no knob of the table")
        if faults:
            raise InputError(faults)
        address = str(options["table"])
        if "://" not in address:
            address = str(Path(options.get("folder", ".")) / address)
        meaning = RecordedColumns(
            _columns([knob.name for knob in named], options.get("columns", {}), source(address).runs.columns),
            options.get("loss", "val_loss"),
            options.get("cost", COST),
            options.get("curve"),
        )
        size = options.get("size", [name for name in meaning.knobs if name in SIZE_NAMES])
        if unknown := [name for name in size if name not in meaning.knobs]:
            raise InputError(f"workload.size names {', '.join(unknown)} (accepted: {', '.join(meaning.knobs)})")
        try:
            found = recordings(address, meaning, size)
        except InputError as error:
            raise InputError([f"workload.{fault}" for fault in error.faults]) from None
        digest = Knob(RECORDED, "str", found.table.digest, "", "hash of the recorded runs")
        return cls((*named, digest, *KNOBS), found, found.table.has_curves)

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return {
            "recorded_row": ("", "row of the recorded run in its table, from 1"),
            "recorded_distance": ("octaves", "distance of that run from the trial's setting"),
            "interpolated": ("", "whether the loss is that of a smooth surface, not of a run"),
            **{f"recorded_{name}": ("", f"{name} of the recorded run") for name in self.recordings.table.values},
        }

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        return declared.facts(values)

    def cost(self, spec: TrialSpec) -> Cost:
        near = self.recordings.nearest(spec.knobs)
        known: dict[str, Any] = {}
        if near is not None:
            table = self.recordings.table
            known = {name: round(float(values[near.row])) for name, values in table.sizes.items()}
            known |= {"flops": near.flops, "flops_convention": "6ND" if table.cost == COST else table.cost}
            known |= {"steps": near.steps} if near.steps else {}
        return declared.cost({**known, **spec.knobs})

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Raise InputError if no trial is near a recorded run."""
        faults = [_fault(spec, self.recordings.nearest(spec.knobs)) for spec in specs]
        if faults and all(faults):
            raise InputError(f"none of {len(faults)} trials is near a recorded run; the first: {faults[0]}")

    def look_up(self, spec: TrialSpec) -> Iterator[Event]:
        yield from self._trial(spec, Context("cpu", Path()))

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Iterator[Event]:
        for spec in pack:
            yield from self._trial(spec, context)

    def _trial(self, spec: TrialSpec, context: Context) -> Iterator[Event]:
        started_at, started = dt.datetime.now(dt.UTC), time.perf_counter()

        def ended(state: State, message: str | None = None, step: int | None = None, **metrics: Value) -> Outcome:
            seconds, now = time.perf_counter() - started, dt.datetime.now(dt.UTC)
            return Outcome(spec.trial_id, state, message, step, started_at, now, seconds, metrics)

        near = self.recordings.nearest(spec.knobs, int(spec["seed"]))
        if context.ending():
            yield ended("preempted", NOT_BEGUN)
            return
        if spec[RECORDED] != self.recordings.table.digest:
            yield ended("failed", "the table has changed since the trial was planned")
            return
        if near is None or _fault(spec, near):
            yield ended("failed", _fault(spec, near))
            return
        smooth = spec["reading"] == "smooth" and math.isfinite(near.loss)
        loss = self.recordings.interpolated(spec.knobs, near) if smooth else near.loss
        factor = 1 + float(spec["noise"]) * random.Random(spec.trial_id).gauss(0.0, 1.0)
        for step, value in _course(near, loss):
            yield CurvePoint(spec.trial_id, step, val_loss=value * factor)
            if context.ending() and step < near.steps:
                yield ended("preempted", f"preempted after step {step}", step)
                return
        steps = near.steps or None
        if math.isfinite(loss):
            yield ended("completed", None, steps, val_loss=loss * factor, interpolated=smooth, **self._reported(near))
        else:
            yield ended("diverged", "the recorded run diverged", None, **self._reported(near))

    def _reported(self, near: Recording) -> dict[str, Value]:
        """Return the recorded run that a trial looked up."""
        table = self.recordings.table
        point = {f"recorded_{name}": values[near.row] for name, values in table.values.items()}
        return {"recorded_row": int(table.rows[near.row]), "recorded_distance": near.distance, **point}


def _course(near: Recording, loss: float) -> Iterator[tuple[int, float]]:
    """Yield the points of a trial: those recorded before its end, then its own loss if it is finite."""
    if near.curve:
        yield from (point for point in near.curve if point[0] < near.steps)
        if math.isfinite(loss):
            yield near.steps, loss


def _fault(spec: TrialSpec, near: Recording | None) -> str:
    """Return why no recorded run can stand for this trial; empty if one can."""
    if near is None:
        return "no recorded run has these texts"
    if near.distance <= spec["farthest"]:
        return ""
    return (
        f"the nearest recorded run is {near.distance:.2f} octaves away (accepted: farthest = {plain(spec['farthest'])})"
    )


def _columns(knobs: Sequence[str], given: Mapping[str, str], there: Sequence[str]) -> dict[str, str]:
    """Return the column of each knob: the one given, else of its own name, else our own name of N or D."""
    if unknown := sorted(given.keys() - set(knobs)):
        close = nearest(unknown[0], knobs)
        raise InputError(f"workload.columns: {', '.join(unknown)} is set by no axis of the sweep{close}")
    other = {**SIZES, **{own: name for name, own in SIZES.items()}}
    return {
        knob: given.get(knob) or (other[knob] if knob not in there and other.get(knob) in there else knob)
        for knob in knobs
    }


def _wrong_types(options: Mapping[str, Any]) -> list[str]:
    """Return a fault for each option that is missing or of the wrong type."""
    faults = [
        f"workload.{name}: {shown(options[name])} (accepted: text)"
        for name in ("table", "loss", "cost", "curve")
        if name in options and not (isinstance(options[name], str) and options[name])
    ]
    if "table" not in options:
        faults.append("workload.table: missing (accepted: the path of a store, or of a CSV, Parquet or NDJSON file)")
    columns, size = options.get("columns", {}), options.get("size", [])
    if not isinstance(columns, Mapping) or not all(isinstance(column, str) for column in columns.values()):
        faults.append(f'workload.columns: {shown(columns)} (accepted: a table such as {{ lr = "learning_rate" }})')
    if not isinstance(size, list) or not all(isinstance(name, str) for name in size):
        faults.append(f'workload.size: {shown(size)} (accepted: a list of knobs such as ["N", "D"])')
    return faults
