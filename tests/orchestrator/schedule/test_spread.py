"""A trial too large for one process is trained by several on a real Ray, with the same result."""

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.launch.queue import build_queue
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.plan.sweep import parse as sweep
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.ray

MODELS = """
name = "t"
[scientific]
params_non_embedding = [20_000]
[nuisance]
lr = [0.003]
[fixed]
corpus = "markov:states=16"
unique_tokens = 16_384
context = 32
batch_sequences = 8
"""


def run(made, where, folder):
    profile = parse({"kind": "local", "cpus": 2, "gpus": 0, **where}, name="x")
    done = launch(made, Store.open(folder, create=True), profile)
    return done, load(folder, states=None).trials.collect()


@pytest.mark.slow
def test_a_trial_too_large_for_a_process_is_trained_by_two_with_the_same_result(tmp_path):
    made = plan(sweep(MODELS))
    cost = made.groups[0].cost
    assert cost.memory_bytes is not None
    memory = cost.memory_on(2)
    assert memory is not None
    assert memory < cost.memory_bytes
    _, alone = run(made, {"kind": "inline"}, tmp_path / "alone")
    done, spread = run(made, {"memory_per_trial": memory}, tmp_path / "spread")
    assert done.states == {"completed": 1}, spread["message"].to_list()
    assert spread["val_loss"][0] == pytest.approx(alone["val_loss"][0], rel=1e-4)
    assert done.usage.device_seconds == pytest.approx(2 * spread["train_seconds"][0])


def test_a_trial_that_fits_nothing_is_refused_with_what_would_hold_it(tmp_path):
    made = plan(sweep(MODELS))
    needed = made.groups[0].cost.memory_bytes
    assert needed is not None
    with pytest.raises(InputError, match=r"parameters needs about .* GB.*there is one node of 2 cores .accepted: "):
        run(made, {"memory_per_trial": needed // 50}, tmp_path / "s")


HUGE = MODELS.replace("20_000", "900_000_000_000")


@pytest.mark.parametrize("where", [{"kind": "local"}, {"kind": "inline"}])
def test_a_trial_larger_than_this_machine_is_refused_before_anything_starts(tmp_path, monkeypatch, where):
    monkeypatch.setattr("sweeplaw.clusters.connect.cluster.kept", lambda *_: pytest.fail("Ray was started"))
    with pytest.raises(InputError, match=r"900,\d+,\d+,\d+ parameters needs .* GB, and one node has .* GB.*accepted"):
        run(plan(sweep(HUGE)), where, tmp_path / "s")


def test_a_trial_larger_than_the_nodes_of_a_running_cluster_is_refused():
    """Their memory is known only once they are connected."""
    made = plan(sweep(MODELS))
    needed = made.groups[0].cost.memory_bytes
    assert needed is not None
    profile = parse({"kind": "ray", "address": "auto"}, name="x")

    def nodes(memory):
        return [Node("a", "a", 4.0, 0.0, memory), Node("b", "b", 0.0, 0.0, 10 * needed)]

    assert build_queue(made, profile, nodes(4 * needed)).sizes() == [TrialResources(1)]
    assert build_queue(made, profile, nodes(needed)).sizes() == [TrialResources(4)]
    assert build_queue(made, profile, nodes(None)).sizes() == [TrialResources(1)]
    with pytest.raises(InputError, match=r"and one node has 0\.0 GB; there is one node of 4 cores .accepted: "):
        build_queue(made, profile, nodes(needed // 50))
