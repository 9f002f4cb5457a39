"""A worker yields one record for each trial, whatever its workload does."""

import re
from pathlib import Path

import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.trials.record import CurvePoint, Outcome, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.attempt_log import sections
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


class _Stacking(_Forgetful):
    """Trials of 3 steps that train together; those with an lr of ``bad`` raise at their second."""

    bad: tuple[float, ...] = (0.2,)

    def __init__(self):
        self.packs = []

    def run(self, pack, context):
        self.packs.append([spec["lr"] for spec in pack])
        for step in (1, 2, 3):
            for spec in pack:
                if step == 2 and spec["lr"] in self.bad:
                    raise ValueError(f"no gradient at lr = {spec['lr']}")
                yield CurvePoint(spec.trial_id, step)
        yield from (Outcome(spec.trial_id, "completed") for spec in pack)


STACK = HEAD + "[scientific]\nparams = [1000]\ntokens = [50]\n[nuisance]\nlr = [0.1, 0.2, 0.3, 0.4]\n"


def stacked(monkeypatch, workload):
    monkeypatch.setattr(registry, "load", lambda name, options: workload)
    return workload


def test_of_a_stack_that_raises_only_the_culprits_fail_with_their_reason_and_log(tmp_path, monkeypatch):
    one = job(STACK, attempts=(2, 1, 1, 1), logs=str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    workload = stacked(monkeypatch, _Stacking())
    workload.bad = (0.2, 0.4)
    rows = run(one, tmp_path)
    assert workload.packs == [[0.1, 0.2, 0.3, 0.4], [0.1], [0.2], [0.3], [0.4]]
    records = [row for row in rows if isinstance(row, TrialRecord)]
    assert {record.spec["lr"]: record.outcome.state for record in records} == {
        0.1: "completed", 0.2: "failed", 0.3: "completed", 0.4: "failed",
    }  # fmt: skip
    assert {record.spec["lr"]: record.attempt for record in records} == {0.1: 2, 0.2: 1, 0.3: 1, 0.4: 1}
    points = [(row.trial_id, row.step) for row in rows if isinstance(row, CurvePoint)]
    assert len(points) == len(set(points)) == 3 + 1 + 3 + 1
    (file,) = (tmp_path / "logs").iterdir()
    logs = [(set(section.attempts), section.output.decode()) for section in sections(file.read_bytes())]
    failed = [record for record in records if record.outcome.state == "failed"]
    for record in failed:
        reason = f"ValueError: no gradient at lr = {record.spec['lr']}"
        assert str(record.outcome.message).startswith(reason)
        (own,) = (text for trials, text in logs if trials == {record.spec.trial_id})
        assert reason in own
    (together,) = (text for trials, text in logs if len(trials) == 4)
    assert "4 of 4 trials have no outcome; they run again one at a time" in together
    assert len(logs) == 3


def test_a_trial_alone_that_raises_fails_at_once(tmp_path, monkeypatch):
    one = job(STACK.replace("[0.1, 0.2, 0.3, 0.4]", "[0.2]"))
    workload = stacked(monkeypatch, _Stacking())
    (record,) = (row for row in run(one, tmp_path) if isinstance(row, TrialRecord))
    assert (record.outcome.state, workload.packs) == ("failed", [[0.2]])


def test_trials_that_have_an_outcome_do_not_run_again(tmp_path, monkeypatch):
    class Late(_Stacking):
        def run(self, pack, context):
            self.packs.append([spec["lr"] for spec in pack])
            yield Outcome(pack[0].trial_id, "diverged")
            if len(pack) > 1:
                raise RuntimeError("planted")

    one = job(STACK)
    workload = stacked(monkeypatch, Late())
    states = [row.outcome.state for row in run(one, tmp_path)]
    assert workload.packs == [[0.1, 0.2, 0.3, 0.4], [0.2], [0.3], [0.4]]
    assert states == ["diverged"] * 4


def test_an_accelerator_that_is_lost_ends_the_worker_so_that_another_runs_the_trials(tmp_path, monkeypatch):
    """After such an error every use of the device in this process fails: the others would fail without a fault."""

    class Asserting(_Stacking):
        def run(self, pack, context):
            yield CurvePoint(pack[0].trial_id, 1)
            raise RuntimeError("CUDA error: device-side assert triggered")

    one, alone = job(STACK), job(STACK.replace("[0.1, 0.2, 0.3, 0.4]", "[0.2]"))
    stacked(monkeypatch, Asserting())
    context = worker.make_context(one, device="cuda", folder=tmp_path)
    for each, ends in ((one, []), (alone, ["failed"])):
        rows: list[Row] = []
        with pytest.raises(RuntimeError, match="device-side assert"):
            rows.extend(worker.run(each, context, provenance("cpu", None)))
        assert [row.outcome.state for row in rows if isinstance(row, TrialRecord)] == ends


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
