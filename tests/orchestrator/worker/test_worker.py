"""A worker yields one record for each trial, whatever its workload does."""

import re
from pathlib import Path

import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.trials.record import CurvePoint, Outcome, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import World
from sweeplaw.trials.workloads import registry

HEAD = 'name = "t"\nworkload = "surrogate"\n'
BODY = HEAD + "[scientific]\nparams = [1000]\ntokens = [50, 70]\n[nuisance]\nlr = [0.1, 0.2]\n"


def job(body=BODY, attempts=None, **settings):
    made = plan(parse(body))
    specs = tuple(spec.canonical() for spec in made.specs)
    sweep, attempts = made.sweep, attempts or (1,) * len(specs)
    return worker.Job("p", sweep.workload.name, sweep.options, specs, attempts, sweep.name, "L", **settings)


def run(one, tmp_path):
    context = worker.make_context(one, device="cpu", folder=tmp_path)
    return list(worker.run(one, context, provenance("cpu", None)))


def test_every_trial_gets_one_record_with_spec_cost_and_provenance(tmp_path):
    rows = run(job(attempts=(1, 2, 3, 4)), tmp_path)
    records = [row for row in rows if isinstance(row, TrialRecord)]
    assert len(records) == 4 == len({record.spec.trial_id for record in records})
    assert [record.attempt for record in records] == [1, 2, 3, 4]
    for record in records:
        row = record.row()
        assert row["state"] == "completed"
        assert row["flops"] == 6 * 1000 * row["tokens"]
        assert row["host"]
        assert row["versions"]
    points = [row for row in rows if isinstance(row, CurvePoint)]
    assert {point.attempt for point in points} == {1, 2, 3, 4}


def test_an_exception_of_the_workload_fails_only_the_trials_without_an_outcome(tmp_path):
    body = BODY + 'behaviour = ["raised", "normal"]\n'
    states = [row.outcome.state for row in run(job(body), tmp_path) if isinstance(row, TrialRecord)]
    assert len(states) == 8
    assert "failed" in states
    failed = [row for row in run(job(body), tmp_path) if isinstance(row, TrialRecord) and row.outcome.state == "failed"]
    assert failed
    for row in failed:
        found = re.fullmatch(r"RuntimeError: planted.* \((.+):(\d+)\)", row.outcome.message or "")
        assert found, row.outcome.message
        assert "raise RuntimeError" in Path(found[1]).read_text().splitlines()[int(found[2]) - 1]


class _Forgetful:
    """A surrogate that yields an outcome for its first trial only, and one for a trial it was not given."""

    real = registry.load("surrogate")
    name, knobs, cost, stacks = real.name, real.knobs, real.cost, True

    def run(self, pack, context):
        yield Outcome(pack[0].trial_id, "completed")
        yield Outcome("another trial", "completed")


def test_a_workload_that_forgets_an_outcome_leaves_a_failed_record(tmp_path, monkeypatch):
    one = job()
    monkeypatch.setattr(registry, "load", lambda name, options: _Forgetful())
    states = [row.outcome.state for row in run(one, tmp_path)]
    assert sorted(states) == ["completed", "completed", "failed", "failed"]


@pytest.mark.parametrize(("device", "packs"), [("cuda", [4]), ("cpu", [2, 2])])
def test_trials_of_different_lengths_are_handed_over_together_on_an_accelerator(device, packs, tmp_path, monkeypatch):
    given = []

    class OfLengths(_Forgetful):
        length_knobs = frozenset({"tokens"})

        def run(self, pack, context):
            given.append(len(pack))
            yield from (Outcome(spec.trial_id, "completed") for spec in pack)

    one = job()
    monkeypatch.setattr(registry, "load", lambda name, options: OfLengths())
    context = worker.make_context(one, device=device, folder=tmp_path)
    records = list(worker.run(one, context, provenance("cpu", None)))
    assert given == packs
    assert sorted(record.row()["flops"] for record in records) == [6 * 1000 * 50] * 2 + [6 * 1000 * 70] * 2


def test_closing_the_rows_stops_the_workload(tmp_path, monkeypatch):
    closed = []

    class Endless(_Forgetful):
        def run(self, pack, context):
            try:
                while True:
                    yield CurvePoint(pack[0].trial_id, 1)
            finally:
                closed.append(True)

    one = job()
    monkeypatch.setattr(registry, "load", lambda name, options: Endless())
    context = worker.make_context(one, device="cpu", folder=tmp_path)
    rows = worker.run(one, context, provenance("cpu", None))
    next(rows)
    rows.close()
    assert closed == [True]


@pytest.mark.parametrize("behaviour", ["diverged", "out_of_memory", "failed"])
def test_each_way_to_end_becomes_a_state_with_a_message(tmp_path, behaviour):
    rows = run(job(BODY + f'[fixed]\nbehaviour = "{behaviour}"\n'), tmp_path)
    outcomes = [row.outcome for row in rows if isinstance(row, TrialRecord)]
    assert {outcome.state for outcome in outcomes} == {behaviour}
    assert all(outcome.message for outcome in outcomes)


def test_a_context_has_the_settings_of_its_job_and_of_its_worker(tmp_path):
    one = job(micro_batch_divisor=4, checkpoints="s3://bucket/checkpoints", checkpoint_seconds=7.0)
    world = World(1, 2, "host:1")
    made = worker.make_context(one, device="cuda", folder=tmp_path, threads=3, world=world, ending=lambda: True)
    assert (made.device, made.folder, made.threads, made.world) == ("cuda", tmp_path, 3, world)
    assert (made.micro_batch_divisor, made.checkpoints, made.checkpoint_seconds) == (4, "s3://bucket/checkpoints", 7.0)
    assert made.ending()


def test_a_trial_with_a_knob_of_another_version_fails_instead_of_running_without_it(tmp_path):
    knobs = {**next(plan(parse(BODY)).specs).knobs, "flavour": "sour"}
    spec = TrialSpec("surrogate", knobs)
    (row,) = run(worker.Job("p", "surrogate", {}, (spec.canonical(),), (1,), "t", "L"), tmp_path)
    assert row.outcome.state == "failed"
    assert "surrogate has no knob flavour here" in row.outcome.message
