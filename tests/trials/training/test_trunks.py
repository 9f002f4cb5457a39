"""Trials that go on from one another's trunks equal trials that train alone, to the last bit, and cost less."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.launch.queue import build_queue
from sweeplaw.orchestrator.plan.estimate import estimate
from sweeplaw.orchestrator.plan.pace import recorded
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.orchestrator.plan.trunks import chains, unshared
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.schedule.simulated.worker import legs
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.schedules.lr_schedule import SHAPES, Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workload import Branch, Context
from sweeplaw.trials.workloads.language_model import LanguageModel
from tests.trials.training import small
from tests.trials.training.preemption import ending_at

WORKLOAD = LanguageModel.of("", {})
SMALL = {**small.SMALL, "schedule": "wsd"}
OWN = ("tokens_per_second", "resumed_step", "trunk_steps")  # metrics in which a branch may differ from a trial alone
WARMUP_STEPS = 2


def spec(epochs: float, **values: Any) -> TrialSpec:
    steps = int(epochs * 4096) // (16 * 8)
    given = {**SMALL, "epochs": epochs, "warmup_fraction": WARMUP_STEPS / steps, **values}
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve(given))


def trunk(one: TrialSpec) -> int:
    found = WORKLOAD.trunk(one.knobs)
    assert found is not None
    return found.steps


def branches(pack: Sequence[TrialSpec]) -> dict[str, Branch]:
    return {one.trial_id: Branch(other, trunk(one)) for one, other in itertools.pairwise(pack)}


def counted_updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by an entry with each update of a stack."""
    done: list[int] = []
    real = Stack._train_step

    def count(stack: Stack) -> Any:
        done.append(stack.step)
        return real(stack)

    monkeypatch.setattr(Stack, "_train_step", count)
    return done


def outcomes(pack: Sequence[TrialSpec], context: Context) -> dict[str, Outcome]:
    return {event.trial_id: event for event in WORKLOAD.run(pack, context) if isinstance(event, Outcome)}


def trained(outcome: Outcome) -> Any:
    return outcome.state, outcome.last_step, {k: v for k, v in outcome.metrics.items() if k not in OWN}


VARIANTS = [
    {},
    {"members": 3},
    {"optimizer": "muon", "decay_convention": "independent"},
    {"optimizer": "schedule_free", "schedule": "constant"},
    {"dropout": 0.1},
    {"precision": "bfloat16"},
]


@pytest.mark.heavy
@pytest.mark.parametrize("values", VARIANTS, ids=lambda values: ",".join(map(str, values.values())) or "plain")
@pytest.mark.parametrize("durable", [True, False])
def test_branches_equal_trials_alone_bit_for_bit_and_train_the_trunk_once(
    values: dict[str, Any], durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = [spec(epochs, **values) for epochs in (1, 2, 4)]
    alone = {one.trial_id: next(iter(outcomes([one], Context("cpu", tmp_path)).values())) for one in pack}
    updates = counted_updates(monkeypatch)
    place = str(tmp_path / "checkpoints") if durable else None
    context = Context("cpu", tmp_path, checkpoints=place, branches=branches(pack))
    together = outcomes(pack, context)
    assert {name: trained(one) for name, one in together.items()} == {name: trained(one) for name, one in alone.items()}
    shared = [trunk(one) for one in pack]
    whole = 32 + 64 + 128 - shared[0] - shared[1]
    assert len(updates) == whole * pack[0]["members"]
    assert [one.metrics.get("trunk_steps") for one in together.values()] == [None, *shared[:2]]
    assert all("resumed_step" not in one.metrics for one in together.values())
    assert os.listdir(place or tmp_path / "trunks") == []


@pytest.mark.heavy
def test_the_curve_of_a_branch_begins_with_the_points_of_its_trunk(tmp_path: Path) -> None:
    pack = [spec(1), spec(4)]
    events = list(WORKLOAD.run(pack, Context("cpu", tmp_path, branches=branches(pack))))
    curves = {
        one.trial_id: [e for e in events if isinstance(e, CurvePoint) and e.trial_id == one.trial_id] for one in pack
    }
    first, second = (curves[one.trial_id] for one in pack)
    end = trunk(pack[0])
    common = [replace(point, trial_id="") for point in first if point.step <= end]
    assert common
    assert [replace(point, trial_id="") for point in second if point.step <= end] == common
    assert [point.step for point in second] == sorted({point.step for point in second})
    assert second[-1].step == 128


@pytest.mark.kill
@pytest.mark.parametrize("stop", [3, 25, 27, 40, 60, 140])
def test_a_preempted_pack_goes_on_and_ends_with_the_same_bits(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the trunk, at its end, in a decay, and in later branches."""
    pack = [spec(epochs) for epochs in (1, 2, 4)]
    alone = {one.trial_id: next(iter(outcomes([one], Context("cpu", tmp_path)).values())) for one in pack}
    context = Context("cpu", tmp_path, checkpoints=str(tmp_path / "checkpoints"), branches=branches(pack))
    with monkeypatch.context() as patched:
        first = outcomes(pack, replace(context, ending=ending_at(stop, patched)))
    left = [one for one in pack if first[one.trial_id].state != "completed"]
    assert left
    second = outcomes(left, context)
    found = {**first, **second}
    assert {name: trained(one) for name, one in found.items()} == {name: trained(one) for name, one in alone.items()}
    assert os.listdir(str(context.checkpoints)) == []


@pytest.mark.heavy
@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_checkpoint_of_a_branch_is_replaced_by_the_state_of_its_trunk(content: bytes, tmp_path: Path) -> None:
    pack = [spec(epochs) for epochs in (1, 2)]
    (damaged := tmp_path / f"{pack[1].trial_id}.safetensors").write_bytes(content)
    found = outcomes(pack, Context("cpu", tmp_path, checkpoints=str(tmp_path), branches=branches(pack)))
    assert found[pack[1].trial_id].metrics["trunk_steps"] == trunk(pack[0])
    assert not damaged.exists()


def test_a_branch_of_a_trunk_that_diverges_diverges_at_the_same_step(tmp_path: Path) -> None:
    pack = [spec(epochs, lr=100.0, grad_clip=0.0, divergence_loss=6.0) for epochs in (1, 2)]
    found = list(outcomes(pack, Context("cpu", tmp_path, branches=branches(pack))).values())
    assert [one.state for one in found] == ["diverged", "diverged"]
    assert found[0].last_step == found[1].last_step


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_stable_steps_are_those_that_a_longer_schedule_repeats(shape: str) -> None:
    points = ((0.0, 1.0), (1.0, 0.0)) if shape == "points" else ()
    short, long = (
        Schedule(shape, steps, warmup_fraction=7 / steps, final_fraction=0.3, decay_fraction=0.25, points=points)
        for steps in (100, 317)
    )
    assert short.warmup_steps == long.warmup_steps == 7
    same = next(step for step in range(101) if step == 100 or short(step) != long(step))
    if short.stable_steps is None:
        assert shape not in ("wsd", "constant")
    else:
        assert short.stable_steps == same == {"wsd": 76, "constant": 100}[shape]
        late = Schedule(shape, 100, warmup_fraction=0.6, decay_fraction=0.25)
        assert late.stable_steps == short.stable_steps, "however long its warm-up is"


SWEEP = """
name = "trunks"
workload = "language_model"
seeds = 2

[scientific]
epochs = [1, 2, 4]
width = [16, 32]

[nuisance]
lr = [0.001, 0.003, 0.01]

[fixed]
corpus = "markov:states=12,spread=1.5,tokens=65536"
context = 16
unique_tokens = 4096
validation_tokens = 1024
schedule = "wsd"

[derived]
warmup_fraction = "0.0625 / epochs"
"""


def planned(tmp_path: Path, text: str = SWEEP) -> Plan:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return plan(read(str(path)))


def test_a_plan_chains_the_lengths_of_each_setting_and_counts_its_trunk_once(tmp_path: Path) -> None:
    made = planned(tmp_path)
    found = chains(made.groups, made.sweep)
    assert len(found) == 2 * 3 * 2
    for chain in found:
        knobs = [made.groups[link.group].spec(link.index).knobs for link in chain]
        assert [one["epochs"] for one in knobs] == [1, 2, 4]
        assert len({(one["width"], one["lr"], one["seed"]) for one in knobs}) == 1
        assert [link.taken_over for link in chain] == [0, 26, 52]
    numbers = estimate(made, profile.load("local"))
    assert numbers["trunks"]["trials"] == 24
    whole = made.total("flops")
    assert numbers["trunks"]["saved_flops"] / whole == pytest.approx((26 + 52) / (32 + 64 + 128))
    apart = planned(tmp_path, SWEEP.replace("wsd", "cosine"))
    assert "trunks" not in estimate(apart, profile.load("local"))
    ratio = numbers["device_hours"] / estimate(apart, profile.load("local"))["device_hours"]
    assert ratio == pytest.approx(1 - (26 + 52) / (32 + 64 + 128))


def test_a_plan_saves_nothing_for_trials_of_several_processes(tmp_path: Path) -> None:
    """The memory of a process holds trials of width 16; those of width 32 are trained by two processes each."""
    made = planned(tmp_path)
    small, large = sorted(
        {group.cost for group in made.groups if group.cost.epochs == 1}, key=lambda one: one.params or 0
    )
    spread = large.memory_on(2)
    assert (small.memory_bytes or 0) < (spread or 0) < (large.memory_bytes or 0)
    two = profile.parse({"kind": "local", "cpus": 2, "gpus": 0, "memory_per_trial": spread}, name="two")
    numbers = estimate(made, two)
    queue = build_queue(made, two, [Node("a", "a", 2.0, 0.0, None)])
    packs = list(iter(queue.take, None))
    assert numbers["trunks"]["trials"] == 12 == sum(len(pack.branches) for pack in packs)
    narrow = sum((group.cost.flops or 0) * len(group.ids) for group in made.groups if group.shared["width"] == 16)
    assert numbers["trunks"]["saved_flops"] / narrow == pytest.approx((26 + 52) / (32 + 64 + 128))
    everywhere = estimate(made, profile.load("local"))
    assert numbers["trunks"]["saved_flops"] < everywhere["trunks"]["saved_flops"]
    assert made.flops_to_train() == pytest.approx(made.total("flops") - everywhere["trunks"]["saved_flops"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('schedule = "wsd"', 'schedule = "linear"'),
        ('warmup_fraction = "0.0625 / epochs"', 'warmup_fraction = "0.05 + 0 * epochs"'),
        ("unique_tokens = 4096", 'unique_tokens = 4096\nchanges = "3: lr=0.1"'),
        ('name = "trunks"', 'name = "trunks"\nkeep = "evaluations"'),
    ],
    ids=["decays at once", "another rise", "changes", "weights of evaluations"],
)
def test_trials_that_do_not_begin_alike_share_nothing(tmp_path: Path, old: str, new: str) -> None:
    assert old in SWEEP
    made = planned(tmp_path, SWEEP.replace(old, new))
    assert chains(made.groups, made.sweep) == []


def test_forms_of_the_decay_branch_off_one_trunk(tmp_path: Path) -> None:
    text = SWEEP.replace("[nuisance]", "[nuisance]\ndecay_fraction = [0.1, 0.4]").replace(
        "epochs = [1, 2, 4]", "epochs = [1, 2]"
    )
    made = planned(tmp_path, text)
    (one, *others) = chains(made.groups, made.sweep)
    assert len(one) == 4
    assert len(others) == 11
    steps = [link.steps for link in one]
    assert steps == sorted(steps)
    assert [link.taken_over for link in one] == [0, *steps[:-1]]


def packs(made: Plan, gpu: bool) -> list[Pack]:
    settings = {"gpus": 1, "hardware": "a100-80", "gpus_per_trial": 1} if gpu else {}
    loaded = profile.parse({"kind": "local", "cpus": 2, **settings}, name="here")
    queue, found = build_queue(made, loaded, [Node("a", "a", 2.0, float(gpu), 10**12)]), []
    while pack := queue.take():
        found.append(pack)
    return found


@pytest.mark.parametrize("gpu", [False, True])
def test_the_trials_of_a_chain_are_in_one_pack_in_order(tmp_path: Path, gpu: bool) -> None:
    made = planned(tmp_path)
    found = packs(made, gpu)
    assert sorted(trial for pack in found for group in pack.groups for trial in group.ids) == sorted(made.ids)
    for pack in found:
        ids = [one.trial_id for one in pack.specs]
        assert len(pack.branches) * 3 == len(ids) * 2
        for trial, (other, _) in pack.branches.items():
            assert ids.index(trial) < ids.index(other)
    if gpu:
        assert [pack.trials for pack in found] == [18, 18]  # every setting and seed of a width, a stack for each length


def test_a_simulation_trains_a_trunk_once(tmp_path: Path) -> None:
    made = planned(tmp_path)
    seconds = sum(
        leg.seconds
        for pack in packs(made, gpu=False)
        for leg in legs(pack, {}, lambda cost, size: float(cost.steps or 0), stacks=False)
    )
    assert seconds == 12 * (32 + 64 + 128 - 26 - 52)


@pytest.mark.heavy
def test_a_launch_trains_a_trunk_once_and_records_every_branch(tmp_path: Path) -> None:
    made = planned(tmp_path, SWEEP.replace("seeds = 2", "seeds = 1").replace("width = [16, 32]", "width = [16]"))
    where = tmp_path / "store"
    launch(made, Store.open(where, create=True), profile.load("inline"))
    rows = load(where).trials.collect().sort("lr", "epochs")
    assert rows["state"].to_list() == ["completed"] * 9
    assert rows["trunk_steps"].to_list() == [None, 26, 52] * 3
    assert rows["last_step"].to_list() == [32, 64, 128] * 3
    assert (
        recorded(Store.open(where), made.sweep.workload, profile.load("inline")) is None
    )  # no pace from part of a trial


def test_a_budget_counts_a_trunk_once(tmp_path: Path) -> None:
    whole = planned(tmp_path).total("flops")
    assert whole is not None
    text = f"{SWEEP}\n[budget]\nflops = {0.7 * whole}\n"
    assert planned(tmp_path, text).trials == 36
    with pytest.raises(InputError, match=r"budget\.flops"):
        planned(tmp_path, text.replace('"wsd"', '"cosine"'))


def test_a_plan_says_why_lengths_share_no_trunk(tmp_path: Path) -> None:
    made = planned(tmp_path, SWEEP.replace("0.0625 / epochs", "0.05 + 0 * epochs"))
    (sentence,) = unshared(made.groups, made.sweep)
    assert "warm up over 2 to 6 steps" in sentence
    assert unshared(planned(tmp_path).groups, made.sweep) == []
