"""The resources of a trial follow from its memory, the minimum of the profile and the capacity of the nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.clusters.profile.capacity import Capacity
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer, TrialResources, memory
from sweeplaw.trials.accounting import Cost

GB = 10**9
EIGHT = ClusterCapacity(4, 64, 8)


def cost(gigabytes, *, sequences=64):
    whole = int(gigabytes * GB)
    return Cost(memory_bytes=whole, state_bytes=whole * 9 // 10, gathered_bytes=0, batch_sequences=sequences)


def size(cost, profile, *, spreads, cluster):
    return ResourceSizer(profile, spreads, cluster)(cost)


def gpus(share, hardware="a100-80"):
    return parse({"kind": "local", "hardware": hardware, "gpus_per_trial": share, "cpus_per_trial": 4}, name="x")


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [
        (5, TrialResources(4, 0.125)),
        (17, TrialResources(4, 0.25)),
        (19, TrialResources(4, 0.5)),
        (37, TrialResources(4, 1.0)),
        (71, TrialResources(4, 1.0)),
        (100, TrialResources(4, 1.0, 2)),
        (500, TrialResources(4, 1.0, 8)),
        (900, TrialResources(4, 1.0, 16, 2)),
        (2000, TrialResources(4, 1.0, 32, 4)),
        # its state fits the 32 devices, its activations only in parts
        (2400, TrialResources(4, 1.0, 32, 4, micro_batch_divisor=2)),
        (5000, None),
    ],
)
def test_memory_decides_between_a_share_of_a_gpu_one_gpu_several_and_several_nodes(gigabytes, expected):
    assert size(cost(gigabytes), gpus(0.125), spreads=True, cluster=EIGHT) == expected


def test_a_trial_gets_at_least_the_minimum_of_the_profile():
    assert size(cost(1), gpus(1), spreads=False, cluster=EIGHT) == TrialResources(4, 1.0)
    assert size(Cost(), gpus(0.25), spreads=True, cluster=EIGHT) == TrialResources(4, 0.25)
    assert size(cost(1), gpus(2), spreads=True, cluster=EIGHT) == TrialResources(2, 1.0, 2)


def test_a_workload_that_cannot_spread_stays_on_one_device():
    assert size(cost(100), gpus(1), spreads=False, cluster=EIGHT) is None
    assert size(cost(75), gpus(1), spreads=False, cluster=EIGHT) == TrialResources(4, 1.0, micro_batch_divisor=2)
    assert size(cost(100), gpus(2), spreads=False, cluster=EIGHT) == TrialResources(4, 2.0)


def test_a_core_has_the_memory_that_the_profile_states():
    profile = parse({"kind": "local", "memory_per_trial": "1 GB"}, name="x")
    assert size(cost(0.9), profile, spreads=True, cluster=ClusterCapacity(2, 4, 0)) == TrialResources(1)
    assert size(cost(1.5), profile, spreads=True, cluster=ClusterCapacity(2, 4, 0)) == TrialResources(1, processes=2)
    assert size(cost(7), profile, spreads=True, cluster=ClusterCapacity(2, 4, 0)) == TrialResources(
        1, processes=8, nodes=2
    )


CORES = parse({"kind": "local"}, name="x")
THREE = ClusterCapacity.of([Capacity(6, 0, 24 * GB)] * 3)


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [
        (0.1, TrialResources(1)),
        (3.9, TrialResources(1)),
        (4.1, TrialResources(2)),
        (12, TrialResources(4)),
        (17, TrialResources(6)),
        (24, TrialResources(6)),
        (40, TrialResources(6, processes=2, nodes=2)),
        (60, TrialResources(6, processes=3, nodes=3)),
        # 22.5 GB of state on each, and 2.5 of activations
        (75, TrialResources(6, processes=3, nodes=3, micro_batch_divisor=2)),
        (900, None),
    ],
)
def test_cores_come_with_their_part_of_the_memory_of_the_node(gigabytes, expected):
    assert size(cost(gigabytes), CORES, spreads=True, cluster=THREE) == expected


def test_trials_running_together_fit_the_memory_of_every_node_they_may_run_on():
    """A core of a small head has less memory than one of a large worker; a trial too large for the head is not placed
    there.
    """
    mixed = ClusterCapacity.of([Capacity(4, 0, 8 * GB), Capacity(64, 0, 256 * GB), Capacity(64, 0, 512 * GB)])
    assert size(cost(3), CORES, spreads=False, cluster=mixed) == TrialResources(2)  # 2 GB go with a core of the head
    assert size(cost(9), CORES, spreads=False, cluster=mixed) == TrialResources(8)
    assert size(cost(256), CORES, spreads=False, cluster=mixed) == TrialResources(64)
    assert size(cost(400), CORES, spreads=False, cluster=mixed) is None
    assert size(cost(400), CORES, spreads=True, cluster=mixed) == TrialResources(64, processes=2, nodes=2)


def test_unknown_memory_does_not_raise_the_number_of_cores():
    assert size(cost(900), CORES, spreads=True, cluster=ClusterCapacity.of([Capacity(4)] * 2)) == TrialResources(1)
    assert size(cost(900), CORES, spreads=True, cluster=ClusterCapacity.of(None)) == TrialResources(1)
    assert size(Cost(), CORES, spreads=True, cluster=THREE) == TrialResources(1)


def test_cores_left_over_by_the_minimum_contribute_their_memory():
    pairs = parse({"kind": "local", "cpus_per_trial": 4, "cpus": 6}, name="x")
    assert size(cost(20), pairs, spreads=False, cluster=THREE) == TrialResources(6)
    rounded = parse({"kind": "local", "cpus_per_trial": 0.14, "cpus": 7}, name="x")  # 50 * 0.14 > 7
    assert size(cost(30), rounded, spreads=False, cluster=ClusterCapacity.of([Capacity(7, 0, 24 * GB)])) is None


@pytest.mark.parametrize(
    ("spreads", "expected"),
    [
        (
            True,
            "one node has 24.0 GB; there are 3 nodes of 6 cores (accepted: 32 nodes of 6 cores; or memory_",
        ),
        (False, "one node has 24.0 GB (accepted: a smaller trial, or a node with 450.8 GB; or memory_per_trial"),
    ],
)
def test_the_error_of_a_trial_larger_than_its_nodes_states_what_would_hold_it(spreads, expected):
    large = cost(500)
    found = ResourceSizer(CORES, spreads, THREE).misfit(large)
    assert found.startswith(f"a trial needs about {large.memory_bytes / GB:.1f} GB, and {expected}")
    cluster = ClusterCapacity.of([Capacity(6, 0, 24 * GB)] * 32 if spreads else [Capacity(6, 0, 451 * GB)])
    assert size(large, CORES, spreads=spreads, cluster=cluster) is not None


def test_a_trial_over_several_nodes_uses_nodes_of_the_largest_kind_only():
    head = Capacity(0, 0, 8 * GB)
    assert ClusterCapacity.of([head, Capacity(64, 8), Capacity(64, 8), Capacity(64, 4)]) == ClusterCapacity(
        2, 64, 8, ()
    )


def test_unknown_nodes_hold_any_request():
    assert size(cost(500), gpus(1), spreads=True, cluster=ClusterCapacity.of(None)) == TrialResources(4, 1.0, 8)


@given(st.floats(0.1, 4000), st.sampled_from([0.125, 0.4, 1, 2]), st.booleans(), st.integers(1, 8), st.integers(1, 9))
def test_chosen_resources_hold_the_trial_and_fit_the_cluster(gigabytes, share, spreads, nodes, devices):
    profile, cluster = gpus(share), ClusterCapacity(nodes, 4 * devices, devices)
    found = size(cost(gigabytes), profile, spreads=spreads, cluster=cluster)
    if found is None:
        return
    needed, usable = memory(cost(gigabytes), found), ResourceSizer(profile, spreads, cluster).usable(found)
    assert needed is not None
    assert usable is not None
    assert needed <= usable
    assert found.gpus * found.per_node <= max(devices, share)
    assert found.nodes <= nodes
    assert found.devices >= share


def test_resources_are_formatted_in_words():
    assert [
        str(item)
        for item in (
            TrialResources(4, 0.25),
            TrialResources(4, 1.0),
            TrialResources(1, processes=2),
            TrialResources(4, 1.0, 16, 2),
        )
    ] == [
        "1/4 GPU",
        "1 GPU",
        "2 cores",
        "2 nodes of 8 GPUs",
    ]


def test_the_resources_that_an_error_suggests_hold_the_trial():
    """80 sequences fit 80 devices, neither 64 nor 128; memory that every device gathers in full bounds any number."""
    one = ClusterCapacity(1, 64, 1)
    several = Cost(memory_bytes=1500 * GB, state_bytes=1490 * GB, gathered_bytes=0, batch_sequences=80)
    expected = ResourceSizer(gpus(1, "l4"), True, one).misfit(several)
    assert "one l4 has 21.6 GB; there is one node of 1 GPU (accepted: 70 GPUs, one sequence at a time)" in expected
    assert size(several, gpus(1, "l4"), spreads=True, cluster=ClusterCapacity(70, 64, 1)) is not None
    gathering = Cost(memory_bytes=500 * GB, state_bytes=450 * GB, gathered_bytes=50 * GB, batch_sequences=64)
    expected = ResourceSizer(gpus(1, "l4"), True, one).misfit(gathering)
    assert "a smaller trial, or GPUs with 57.8 GB: spread over 64 GPUs, with 64 sequences in its batch" in expected
    undivided = Cost(memory_bytes=500 * GB)
    assert "a smaller trial, or a GPU with 500.0 GB)" in ResourceSizer(gpus(1, "l4"), True, one).misfit(undivided)


def test_a_count_of_one_is_singular():
    profile = gpus(1, "l4")
    assert "one node of 1 GPU (" in ResourceSizer(profile, True, ClusterCapacity(1, 64, 1)).misfit(cost(100))
    assert "2 nodes of 8 GPUs (" in ResourceSizer(profile, True, ClusterCapacity(2, 64, 8)).misfit(cost(5000))
    assert "and one l4 has 21.6 GB (" in ResourceSizer(profile, False, EIGHT).misfit(cost(100))
