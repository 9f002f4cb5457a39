"""What every search holds, static ones included: the same suite runs against each kind."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from sweeplaw.orchestrator.plan.search_options import KINDS
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import (
    Finished,
    History,
    Observation,
    Pending,
    Proposal,
    RemainingBudget,
    Setting,
    Stop,
)
from sweeplaw.orchestrator.search.space import Space

SURROGATE = """
name = "contract"
workload = "surrogate"
where = "lr * params < 3e5"
[search]
kind = "{kind}"
{options}
[budget]
trials = 10000
[scientific]
params = [1e6, 3e6, 1e7]
tokens = [1e9]
[nuisance]
lr = {{ log = [1e-4, 1e-1], num = 10 }}
weight_decay = {{ list = [0.05, 0.2, 0.4], when = "batch_sequences > 32" }}
batch_sequences = [16, 32, 64, 128]
"""
POPULATION = """
name = "contract"
workload = "language_model"
where = "lr < 0.05"
[search]
kind = "population"
members = 4
intervals = 3
[budget]
trials = 10000
[scientific]
unique_tokens = [65536, 131072]
[nuisance]
lr = { log = [1e-4, 1e-1], num = 10 }
weight_decay = { log = [1e-3, 1.0] }
[fixed]
corpus = "markov:states=8,order=1"
tokenizer = "none"
depth = 1
width = 8
heads = 1
ffn = 8
context = 16
"""
OPTIONS = {
    "random": "samples = 12",
    "optuna": 'sampler = "optuna.samplers:RandomSampler"',
    "nsga2": "options = { population_size = 8 }",
    "halving": "samples = 9\nreduction = 3\nfirst = 0.1",
    "hyperband": "samples = 9\nreduction = 3\nfirst = 0.1",
    "archive": "initial = 2",
}
STEPS = 40  # proposals of a run in these tests
SLOW_KINDS = ("gp",)  # a Gaussian process is fitted for every proposal
every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.heavy if kind in SLOW_KINDS else ()) for kind in sorted(KINDS)]
)
Key = tuple[Setting, str]


def space_of(kind: str) -> Space:
    if kind == "population":
        return Space(parse(POPULATION))
    return Space(parse(SURROGATE.format(kind=kind, options=OPTIONS.get(kind, ""))))


def loss_of(space: Space, setting: Setting) -> float:
    """Return a planted bowl in lr whose optimum falls with the scientific point."""
    knobs = space.knobs(setting)
    lr = float(knobs["lr"])
    best = 1e-2 / (1 + setting.cell)
    return 2.0 + 0.1 * math.log(lr / best) ** 2 + 0.01 * setting.cell + 0.001 * float(knobs.get("weight_decay", 0.0))


class Course:
    """A search run in memory with up to ``slots`` pending; ``fates`` decides what becomes of a setting."""

    def __init__(self, space: Space, slots: int = 1, fates: Callable[[Setting], str] = lambda setting: "completed"):
        self.space, self.slots, self.fates = space, slots, fates
        self.search = registry.load(space)
        self.known: dict[Key, Observation] = {}
        self.running: list[tuple[Proposal, Pending]] = []
        self.proposals: list[Proposal] = []
        self.ended = ""
        self.random = random.Random(0)

    def history(self) -> History:
        return History(
            list(self.known.values()), [item for _, item in self.running], RemainingBudget(), len(self.proposals), 0.0
        )

    def propose(self) -> bool:
        """Take the next proposal; return whether there was one."""
        found = self.search.propose(self.history())
        if isinstance(found, Finished):
            self.ended = found.reason
        if not isinstance(found, Proposal):
            assert not isinstance(found, Stop), "only early stopping gives trials up"
            return False
        key = found.setting, str(found.knobs)
        known = self.known.get(key)
        assert known is None or known.status == "paused", f"proposed again: {found}"
        assert key not in [(item.setting, str(item.knobs)) for _, item in self.running], f"runs already: {found}"
        item = Pending(found.setting, len(self.proposals), len(self.known), found.knobs)
        self.running.append((found, item))
        self.known.pop(key, None)
        self.proposals.append(found)
        return True

    def finish(self) -> None:
        """End one of the runs."""
        proposal, item = self.running.pop(self.random.randrange(len(self.running)))
        group = self.space.group(proposal.setting, proposal.knobs)
        assert not isinstance(group, str)
        steps = group.cost.steps or 1
        step = min(proposal.until or steps, steps)
        fate = self.fates(proposal.setting) if step == steps else "paused"
        loss = loss_of(self.space, proposal.setting)
        curve = (*((at, loss + 1.0 / at) for at in range(1, step, max(1, step // 50))), (step, loss + 1.0 / step))
        self.known[proposal.setting, str(proposal.knobs)] = Observation(
            proposal.setting, fate, (loss,) if fate == "completed" else (), group.cost.flops,  # type: ignore[arg-type]
            item.number, item.known, step, steps, curve, group.ids, proposal.knobs,
        )  # fmt: skip

    def run(self, most: int = STEPS) -> Course:
        most = min(most, 15) if self.space.sweep.search.kind in SLOW_KINDS else most
        while len(self.proposals) < most and not self.ended:
            while len(self.running) < self.slots and len(self.proposals) < most and self.propose():
                pass
            if not self.running:
                assert self.ended, "it waits, and nothing runs"
                break
            self.finish()
        return self


@pytest.mark.heavy
@every_kind
@pytest.mark.parametrize("slots", [1, 5])
def test_nothing_is_proposed_twice_and_all_satisfy_the_conditions(kind: str, slots: int) -> None:
    space = space_of(kind)
    course = Course(space, slots).run()
    assert len(course.proposals) >= 12
    for proposal in course.proposals:
        assert space.admits(proposal.setting)
        assert proposal.reason


@every_kind
def test_a_new_instance_continues_as_the_old_one(kind: str) -> None:
    space = space_of(kind)
    course = Course(space)
    for cut in (0, 1, 7, 19):
        course.run(cut + 1)
        while course.running:
            course.finish()
        fresh, old = registry.load(space), course.search
        assert fresh.propose(course.history()) == old.propose(course.history()), cut


@every_kind
@pytest.mark.parametrize("fate", ["diverged", "failed"])
@pytest.mark.heavy
def test_results_without_a_loss_are_tolerated(kind: str, fate: str) -> None:
    course = Course(space_of(kind), 3, lambda setting: fate if hash(setting.values) % 3 == 0 else "completed").run()
    assert len(course.proposals) >= 12
    everything = Course(space_of(kind), 2, lambda setting: fate).run()
    assert everything.proposals


@every_kind
def test_belief_is_one_line_at_any_time(kind: str) -> None:
    course = Course(space_of(kind), 2)
    assert "\n" not in course.search.belief(course.history())
    course.run(15)
    assert "\n" not in course.search.belief(course.history())


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["tpe", "cmaes", "local", "law", "archive"])
def test_the_optimum_of_a_planted_bowl_is_found_within_one_step_of_the_grid(kind: str) -> None:
    space = space_of(kind)
    course = Course(space).run(90)
    step = 1000 ** (1 / 9)
    for cell in range(len(space.cells)):
        seen = [item for item in course.known.values() if item.setting.cell == cell and item.value is not None]
        best = min(seen, key=lambda item: item.values[0])
        lr = float(space.knobs(best.setting)["lr"])
        allowed = [float(space.knobs(item.setting)["lr"]) for item in space.candidates if item.setting.cell == cell]
        wanted = min(allowed, key=lambda value: abs(math.log(value * (1 + cell) / 1e-2)))
        assert abs(math.log(lr / wanted)) < 1.01 * math.log(step), (kind, cell, lr, wanted)


@every_kind
def test_known_settings_of_others_are_not_run_again(kind: str) -> None:
    """Rows of imports and of other launches have no number; what they know is not asked for again."""
    space = space_of(kind)
    first = Course(space).run(10)
    while first.running:
        first.finish()
    second = Course(space)
    finished = {key: seen for key, seen in first.known.items() if seen.status == "completed"}
    second.known = {key: replace(seen, number=None, known=None) for key, seen in finished.items()}
    second.run(15)
    assert not {proposal.setting for proposal in second.proposals} & {setting for setting, _ in finished}
