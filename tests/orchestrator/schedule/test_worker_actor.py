"""Reports of a worker to Tune, without a cluster."""

import pickle
import time

import pytest
import ray

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schedule.ray_tune import ranks
from sweeplaw.orchestrator.schedule.ray_tune.worker_actor import STEP_ROWS, WorkerActor, WorkerSettings, WorkerStart
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.worker import Job

pytestmark = pytest.mark.ray

INLINE = 100 * 1024  # bytes: Ray's max_direct_call_object_size; what is larger goes through its object store
SWEEP = 'name = "t"\nworkload = "surrogate"\nseeds = 1000\n[scientific]\nparams = [1000]\ntokens = [50]\n'


@pytest.fixture
def ran(monkeypatch):
    """The ids of packs that began."""
    began, run = [], worker.run

    def noted(job, *rest, **settings):
        began.append(job.pack_id)
        return run(job, *rest, **settings)

    monkeypatch.setattr(worker, "run", noted)
    return began


@pytest.fixture
def slot(monkeypatch, ran):
    monkeypatch.setattr(ray, "get_gpu_ids", list)  # these two would start a Ray
    monkeypatch.setattr(ranks, "get_current_placement_group", lambda: None)
    specs = [group.spec(index) for group in plan(parse(SWEEP)).groups for index in range(len(group.ids))]
    job = Job("p", "surrogate", {}, tuple(spec.canonical() for spec in specs), (1,) * len(specs), "t", "l")
    assert len(pickle.dumps(job)) > INLINE, "or the test below could not fail"
    settings = WorkerSettings(TrialResources(1.0), 600.0, None, 1.0, pace=60.0)  # a busy machine may take seconds
    slot = WorkerActor({"worker": WorkerStart(settings, job)})
    yield slot
    slot.stop()


def test_a_report_bypasses_the_object_store_whatever_job_the_slot_began_with(slot):
    result = slot.train()
    assert result["report"].error is None
    assert len(result["report"].rows) == STEP_ROWS
    assert len(pickle.dumps(result)) < INLINE / 2
    assert not ray.is_initialized()


def test_a_worker_runs_nothing_before_its_first_step(slot, ran):
    """The driver hears of a process before its first step. If trials could kill it earlier, they would count as failed
    starts of an innocent node, and would be tried again for ever."""
    time.sleep(0.2)
    assert ran == []
    slot.train()
    assert ran == ["p"]
