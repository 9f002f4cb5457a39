"""How a plan is cut into packs: stacks where the workload trains trials together, single trials elsewhere."""

from __future__ import annotations

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.orchestrator.launch.queue import build_queue
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse as sweep

SURROGATE = """
name = "t"
workload = "surrogate"
seeds = 40
[scientific]
params = [1e6]
tokens = [1e8, 2e8]
[nuisance]
lr = [0.001, 0.003]
"""
MODELS = """
name = "t"
seeds = 40
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


def dead(text):
    """Return the trials that are suspects of the first pack's death on a GPU, and those that run unchanged."""
    made = plan(sweep(text))
    on_gpus = parse({"kind": "local", "cpus": 4, "gpus": 1, "hardware": "a100-80", "gpus_per_trial": 1}, name="gpu")
    queue = build_queue(made, on_gpus, [Node("a", "a", 4.0, 1.0, 10**12)])
    pack = queue.take()
    assert pack is not None
    assert pack.trials > 1
    while queue.take():
        pass
    queue.died(pack, set())
    found = []
    while again := queue.take():
        found.append((again.attempt, again.trials))
    return pack.trials, found


def test_only_the_trial_that_ran_is_blamed_where_trials_of_a_pack_run_one_after_another() -> None:
    trials, found = dead(SURROGATE)
    assert found == [(2, 1), (1, trials - 1)]


def test_all_trials_of_a_stack_are_blamed() -> None:
    trials, found = dead(MODELS)
    assert found == [(2, 1)] * trials
