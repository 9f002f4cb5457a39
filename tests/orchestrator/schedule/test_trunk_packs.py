"""How trials that share trunks are cut into packs: by cost, over the slots, each chain whole."""

from __future__ import annotations

import pytest

from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.orchestrator.plan.trunks import chains
from sweeplaw.orchestrator.schedule.trunk_packs import cut_trunks
from tests.trials.training.test_trunks import SWEEP

ONE = TrialResources(1.0, 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Twelve chains of three lengths, six of each of two widths."""
    path = tmp_path_factory.mktemp("trunks") / "sweep.toml"
    path.write_text(SWEEP)
    return plan(read(str(path)))


@pytest.mark.parametrize("slots", [1, 1000])
def test_packs_are_of_a_cost_that_fills_eight_a_slot(made: Plan, slots: int) -> None:
    packs, left = cut_trunks(made.groups, made.sweep, slots, size=ONE)
    assert left == []
    found = chains(made.groups, made.sweep)
    costs = {}
    for chain in found:
        width = made.groups[chain[0].group].spec(0)["width"]
        lengths = [made.groups[link.group].cost for link in chain]
        costs[width] = sum(  # of every update once: a later trial goes on after 26 and 52 of its 64 and 128
            (cost.flops or 0) * (1 - shared / (cost.steps or 1))
            for cost, shared in zip(lengths, (0, 26, 52), strict=True)
        )
    share = 6 * sum(costs.values()) / (8 * slots)
    rooms = {width: max(1, int(share / cost)) for width, cost in costs.items()}
    assert rooms[16] > 1 or slots > 1
    assert len(packs) == sum(-(-6 // room) for room in rooms.values())
    assert sum(pack.weight for pack in packs) == pytest.approx(6 * sum(costs.values()))
    assert sorted(trial for pack in packs for group in pack.groups for trial in group.ids) == sorted(made.ids)
    assert {pack.size for pack in packs} == {ONE}


def test_a_trial_goes_on_from_the_one_that_is_shorter_and_in_its_pack(made: Plan) -> None:
    specs = {spec.trial_id: spec for spec in made.specs}
    packs, _ = cut_trunks(made.groups, made.sweep, 1, size=ONE)
    for pack in packs:
        own = [trial for group in pack.groups for trial in group.ids]
        assert len(pack.branches) == 2 * len(own) / 3
        for shorter, (longer, steps) in pack.branches.items():
            assert {shorter, longer} <= set(own)
            one, other = specs[shorter], specs[longer]
            assert (one["epochs"], other["epochs"], steps) in ((1, 2, 26), (2, 4, 52))
            assert [one[name] for name in ("width", "lr", "seed")] == [other[name] for name in ("width", "lr", "seed")]


def test_trials_of_several_processes_share_nothing_and_a_stack_is_bounded_by_memory(made: Plan) -> None:
    packs, left = cut_trunks(made.groups, made.sweep, 1, size=TrialResources(1.0, 0.0, processes=2))
    assert (packs, left) == ([], list(made.groups))
    alone, _ = cut_trunks(made.groups, made.sweep, 1, size=ONE, stack_bytes=1)
    assert len(alone) == 12
    stacked, _ = cut_trunks(made.groups, made.sweep, 1, size=ONE, stack_bytes=10**12)
    assert len(stacked) == 2, "one of each width, whatever their cost"
