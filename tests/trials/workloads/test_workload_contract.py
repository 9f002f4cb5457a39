"""The contract of all workloads with the planner, the scheduler and the store, checked for each workload."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CURVE_COLUMNS, RESERVED_COLUMNS, STATES, CurvePoint, Outcome, Provenance, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context, Workload
from sweeplaw.trials.workloads import registry

FUNCTION = """
def train(config):
    step = 0
    while step < 4 or config["mode"] == "endless":
        step += 1
        yield {"step": step, "val_loss": 1.0 / step, "score": 2.0 * config["seed"]}
    if config["mode"] == "bad":
        raise RuntimeError("planted")


def calling(config, report):
    for point in train(config):
        report(point)
"""
SCRIPT = """
step=0
while [ $step -lt 4 ] || [ "$1" = endless ]; do
  step=$((step + 1))
  echo "{\\"step\\": $step, \\"val_loss\\": 0.$step, \\"score\\": $2}"
done
[ "$1" = bad ] && { echo planted >&2; exit 3; }
exit 0
"""


@dataclass(frozen=True)
class Case:
    """One workload, with the settings of a small trial, of one that fails, and of one that runs long."""

    name: str
    options: Mapping[str, Any]
    small: Mapping[str, Any]
    bad: Mapping[str, Any] | None  # None where every setting that is accepted completes
    lasting: Mapping[str, Any]

    def workload(self) -> Workload:
        return registry.load(self.name, self.options)

    def spec(self, values: Mapping[str, Any], **more: Any) -> TrialSpec:
        workload = self.workload()
        return TrialSpec.of(workload.name, workload.knobs, workload.resolve({**values, **more}))


def _surrogate(folder: Path) -> Case:
    small = {"params": 1000, "tokens": 10**6, "noise": 0.01}
    return Case("surrogate", {}, small, {**small, "behaviour": "failed"}, {**small, "seconds": 1.0})


def _linear_dynamics(folder: Path) -> Case:
    small = {"dimension": 8, "samples": 16, "noise": 0.1, "evaluations": 4}
    steps = {"dimension": 8, "noise": 0.1, "evaluations": 4, "dynamics": "sgd"}
    return Case("linear_dynamics", {}, small, {**steps, "lr": 100.0, "steps": 400}, {**steps, "steps": 10**8})


def _ridge(folder: Path) -> Case:
    small = {"features": 8, "samples": 12, "dimension": 16, "ridge": 0.1}
    return Case("ridge", {}, small, None, small)


def _generator(folder: Path) -> Case:
    return _python(folder, "train")


def _callback(folder: Path) -> Case:
    return _python(folder, "calling")


def _python(folder: Path, function: str) -> Case:
    (folder / "contract_function.py").write_text(FUNCTION)
    options = {"folder": str(folder), "knobs": {"mode": "good"}}
    return Case(f"python:contract_function:{function}", options, {}, {"mode": "bad"}, {"mode": "endless"})


def _command(folder: Path) -> Case:
    (folder / "train.sh").write_text(SCRIPT)
    argv = ["/bin/sh", "train.sh", "{mode}", "{seed}"]
    options = {"folder": str(folder), "argv": argv, "knobs": {"mode": "good"}}
    return Case("command", options, {}, {"mode": "bad"}, {"mode": "endless"})


def _replay(folder: Path) -> Case:
    lines = [f'{{"N": 1e6, "D": 1e8, "lr": {lr}, "val_loss": 3.0, "losses": [4.0, 3.5, 3.0]}}' for lr in (0.01, 0.02)]
    (folder / "runs.ndjson").write_text("\n".join(lines))
    axes = {"N": [1000000], "D": [100000000], "lr": [0.01]}
    options = {"folder": str(folder), "table": "runs.ndjson", "curve": "losses", "axes": axes}
    small = {"N": 1000000, "D": 100000000, "lr": 0.01}
    return Case("replay", options, small, {**small, "lr": 1.0}, small)


def _language_model(folder: Path) -> Case:
    small = {
        "corpus": "markov:states=4,order=1",
        "tokenizer": "none",
        "context": 16,
        "unique_tokens": 4096,
        "batch_sequences": 8,
        "depth": 1,
        "width": 16,
        "heads": 2,
        "ffn": 32,
        "validation_tokens": 256,
    }
    return Case("language_model", {}, small, {**small, "lr": 1e3}, {**small, "epochs": 100.0})


def _modular_arithmetic(folder: Path) -> Case:
    small = {"modulus": 11, "width": 8, "steps": 4, "evaluations": 2}
    return Case("modular_arithmetic", {}, small, {**small, "lr": 1e3}, {**small, "steps": 10**6, "evaluations": 10**5})


CASES = (
    _surrogate,
    _ridge,
    _linear_dynamics,
    _generator,
    _callback,
    _command,
    _replay,
    _language_model,
    _modular_arithmetic,
)


@pytest.fixture(params=CASES, ids=lambda make: make.__name__[1:])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    before = list(sys.path)
    yield request.param(tmp_path)
    sys.path[:] = before
    sys.modules.pop("contract_function", None)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    folder = tmp_path / "pack"
    folder.mkdir()
    return Context("cpu", folder)


def ends(events: list[Any]) -> dict[str, Outcome]:
    return {event.trial_id: event for event in events if isinstance(event, Outcome)}


@pytest.mark.heavy
def test_a_pack_ends_with_exactly_one_outcome_for_each_trial_after_all_its_points(case: Case, context: Context) -> None:
    pack = [case.spec(case.small, seed=seed) for seed in range(3)]
    events = list(case.workload().run(pack, context))
    assert sorted(event.trial_id for event in events if isinstance(event, Outcome)) == sorted(
        spec.trial_id for spec in pack
    )
    for spec in pack:
        mine = [event for event in events if event.trial_id == spec.trial_id]
        assert [type(event) for event in mine] == [CurvePoint] * (len(mine) - 1) + [Outcome]
        steps = [event.step for event in mine if isinstance(event, CurvePoint)]
        assert steps == sorted(set(steps))


@pytest.mark.heavy
def test_a_completed_trial_has_a_finite_loss_and_its_times(case: Case, context: Context) -> None:
    (outcome,) = ends(list(case.workload().run([case.spec(case.small)], context))).values()
    assert (outcome.state, outcome.message) == ("completed", None)
    val_loss, started_at, ended_at = outcome.metrics["val_loss"], outcome.started_at, outcome.ended_at
    assert isinstance(val_loss, float)
    assert math.isfinite(val_loss)
    assert started_at is not None
    assert ended_at is not None
    assert started_at.utcoffset() == dt.timedelta(0)
    assert started_at <= ended_at
    assert outcome.train_seconds is not None
    assert outcome.train_seconds >= 0
    assert outcome.last_step is not None
    assert outcome.last_step >= 1


@pytest.mark.heavy
def test_the_same_spec_gives_the_same_loss(case: Case, context: Context) -> None:
    spec = case.spec(case.small)
    losses = [ends(list(case.workload().run([spec], context)))[spec.trial_id].metrics["val_loss"] for _ in range(2)]
    assert losses[0] == losses[1]


@pytest.mark.heavy
def test_a_failure_inside_a_trial_is_the_outcome_of_that_trial_only(case: Case, context: Context) -> None:
    if case.bad is None:
        pytest.skip("every setting that is accepted completes")
    bad, good = case.spec(case.bad), case.spec(case.small)
    outcomes = ends(list(case.workload().run([bad, good], context)))
    assert outcomes[bad.trial_id].state in set(STATES) - {"completed", "stopped"}
    assert outcomes[bad.trial_id].message
    assert outcomes[good.trial_id].state == "completed"


@pytest.mark.heavy
@pytest.mark.parametrize("seen", [0, 1, 2])
def test_closing_the_iterator_stops_at_once_and_leaves_nothing_running(case: Case, context: Context, seen: int) -> None:
    threads, children = threading.active_count(), _children()
    events = case.workload().run([case.spec(case.lasting), case.spec(case.small)], context)
    for _ in range(seen):
        next(events)
    started = time.monotonic()
    events.close()
    assert time.monotonic() - started < 5
    assert threading.active_count() == threads
    assert _children() == children


@pytest.mark.heavy
def test_preempting_a_pack_ends_every_trial_as_preempted(case: Case, context: Context) -> None:
    pack = [case.spec(case.lasting, seed=seed) for seed in range(2)]
    seen: list[Any] = []
    for event in case.workload().run(pack, replace(context, ending=lambda: len(seen) > 0)):
        seen.append(event)
    assert [outcome.state for outcome in ends(seen).values()] == ["preempted", "preempted"]
    assert all(outcome.message and outcome.metrics == {} for outcome in ends(seen).values())


def test_a_spec_has_every_knob_and_round_trips_through_its_canonical_text(case: Case) -> None:
    spec, workload = case.spec(case.small), case.workload()
    assert set(spec.knobs) == {knob.name for knob in workload.knobs}
    again = TrialSpec.from_canonical(spec.canonical(), spec.later)
    assert (again, again.trial_id) == (spec, spec.trial_id)
    assert registry.load(spec.workload, case.options).knobs == workload.knobs


def test_knobs_requests_and_metrics_have_unique_names_other_than_the_reserved_columns(case: Case) -> None:
    workload = case.workload()
    names = [*(knob.name for knob in (*workload.knobs, *workload.requests)), *workload.metrics]
    assert len(names) == len(set(names))
    assert "seed" in names
    assert not RESERVED_COLUMNS & set(names)
    for knob in workload.knobs:
        assert knob.default is None or knob.coerce(knob.default) == knob.default


def test_the_cost_is_pure_and_the_same_for_all_members(case: Case) -> None:
    workload, spec = case.workload(), case.spec(case.small)
    before = spec.canonical()
    assert workload.cost(spec) == workload.cost(spec)
    assert spec.canonical() == before
    other = {knob.name: _another(knob) for knob in workload.knobs if knob.member}
    assert workload.cost(TrialSpec.of(workload.name, workload.knobs, {**spec.knobs, **other})) == workload.cost(spec)


def test_facts_agree_with_the_cost(case: Case) -> None:
    workload, spec = case.workload(), case.spec(case.small)
    cost = workload.cost(spec).columns()
    for name, value in workload.facts(spec.knobs).items():
        assert name not in cost or cost[name] == value


def test_resolve_passes_unknown_names_through_and_changes_no_argument(case: Case) -> None:
    values = {**case.small, "no_such_knob": 1}
    copy = dict(values)
    assert case.workload().resolve(values)["no_such_knob"] == 1
    assert values == copy


@pytest.mark.heavy
def test_a_good_spec_passes_the_check(case: Case) -> None:
    case.workload().check([case.spec(values) for values in (case.small, case.bad) if values is not None])


def test_an_unknown_option_is_refused_by_name(case: Case) -> None:
    with pytest.raises(InputError, match="no_such_option"):
        registry.load(case.name, {**case.options, "no_such_option": 1})


def test_events_are_rows_of_plain_values(case: Case, context: Context) -> None:
    workload, spec = case.workload(), case.spec(case.small)
    where = Provenance("host", "cpu", "{}", None)
    for event in workload.run([spec], context):
        if isinstance(event, Outcome):
            row = TrialRecord(spec, workload.cost(spec), event, "sweep", 1, "pack", "launch", where).row()
            assert row["trial_id"] == spec.trial_id
        else:
            row = event.row()
            assert row.keys() >= {column.name for column in CURVE_COLUMNS}
        json.dumps(row, default=lambda time_: time_.isoformat())


def _another(knob: Any) -> Any:
    if knob.choices:
        return next(choice for choice in knob.choices if choice != knob.default)
    return {"int": 3, "float": 0.25}.get(knob.type, knob.default)


def _children() -> set[str]:
    """Return the ids of child processes, including zombies; empty where there is no /proc."""
    return {stat.parent.name for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == str(os.getpid())}


def _parent(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[1]
    except OSError:  # it has ended in the meantime
        return ""
