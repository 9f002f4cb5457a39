"""The guide finds planted optima, is a pure function of its records, and bears what records can be."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.guidance.gains import gains
from sweeplaw.analysis.guidance.guide import Guide, Options, PlacedRun
from sweeplaw.analysis.guidance.space import CandidateSpace, NumericKnob
from sweeplaw.trials.errors import InputError
from tests.analysis.guidance.planted import Planted, planted


def search(truth: Planted, runs: int, seed: int = 0, options: Options | None = None) -> Guide:
    """Return a guide after this many runs, one at a time."""
    guide = Guide(truth.space, seed, options)
    for _ in range(runs):
        (proposal,) = guide.propose()
        guide.observe([proposal.index], [float(truth.loss[proposal.index])])
    return guide


@pytest.mark.heavy
@pytest.mark.parametrize(("knobs", "axes"), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 3), (3, 1), (4, 2)])
def test_finds_the_optimum_of_a_planted_bowl_within_a_grid_step(knobs: int, axes: int) -> None:
    truth = planted(knobs, axes, noise=0.0, seed=1)
    guide = search(truth, min(len(truth.space) // 2, 60))
    for answer in guide.recommend():
        off = np.abs(truth.space.x[answer.denoised] - truth.optimum[answer.cell])
        assert (off <= 1.0).all(), (answer, off)


@pytest.mark.heavy
def test_reads_linear_axes_as_log_ones() -> None:
    truth = planted(2, 1, noise=0.0005, seed=2, scale="linear")
    guide = search(truth, 40)
    regret = [truth.clean[a.denoised] / truth.clean[truth.space.cell == a.cell].min() - 1 for a in guide.recommend()]
    assert max(regret) < 0.001


def proposed(guide: Guide, k: int = 3, pending: tuple[int, ...] = ()) -> list[PlacedRun]:
    return guide.propose(k, pending=pending)


@pytest.mark.heavy
def test_the_same_records_give_the_same_proposals_whenever_it_was_asked() -> None:
    truth = planted(2, 2, noise=0.0005, seed=3)
    for runs in (0, 7, 15, 16, 31, 60):
        watched = search(truth, runs)
        resumed = Guide(truth.space, 0)
        index = watched.records.index
        resumed.observe(index, [float(truth.loss[i]) for i in index])
        assert proposed(resumed, pending=(3,)) == proposed(watched, pending=(3,))
        assert resumed.recommend() == watched.recommend()


def test_another_seed_starts_elsewhere() -> None:
    truth = planted(2, 2, noise=0.0, seed=3)
    assert [p.index for p in Guide(truth.space, 0).propose(5)] != [p.index for p in Guide(truth.space, 1).propose(5)]


@pytest.mark.heavy
def test_proposals_are_new_affordable_and_explained() -> None:
    truth = planted(2, 2, noise=0.0005, seed=4)
    guide = search(truth, 40)
    pending = [p.index for p in guide.propose(4)]
    cheap = float(np.median(truth.space.cost))
    more = guide.propose(6, cheap, pending)
    chosen = [p.index for p in more]
    assert len({*chosen, *pending, *guide.records.index}) == len(chosen) + len(pending) + 40
    assert sum(truth.space.cost[chosen]) <= cheap
    assert all("point in the cell N = " in p.reason for p in more)


@pytest.mark.heavy
def test_the_expected_gain_is_the_knowledge_of_the_best_next_run_per_flop() -> None:
    truth = planted(2, 2, noise=0.0005, seed=4)
    guide = search(truth, 40)
    pending = [run.index for run in guide.propose(2)]
    belief = guide.belief().copy()
    belief.await_records(np.array(pending))
    run = np.isin(belief.active, [*guide.records.index, *pending])
    found = gains(belief, ~run, run, guide.records.best)
    worth = found.knowledge.sum(axis=1) / truth.space.cost[belief.active[found.rows]]
    assert guide.expected_gain(pending) == pytest.approx(worth.max())
    assert guide.expected_gain() > worth.max()  # the pending ones were the best


def test_everything_runs_once_and_then_nothing_is_proposed() -> None:
    truth = planted(1, 1, noise=0.0005, seed=5)
    guide = search(truth, len(truth.space))
    assert sorted(guide.records.index) == list(range(len(truth.space)))
    assert guide.propose(3) == []
    assert guide.expected_gain() == 0


def test_a_budget_below_the_cheapest_run_proposes_nothing() -> None:
    truth = planted(2, 1, noise=0.0, seed=6)
    assert Guide(truth.space).propose(2, 0.5 * float(truth.space.cost.min())) == []


@pytest.mark.heavy
def test_diverged_missing_and_failed_runs_do_not_mislead() -> None:
    truth = planted(2, 2, noise=0.0005, seed=7)
    rng = np.random.default_rng(0)
    guide = Guide(truth.space)
    for _ in range(90):
        (proposal,) = guide.propose()
        point, luck = proposal.index, rng.random()
        too_high = truth.space.x[point, 0] > truth.optimum[truth.space.cell[point], 0] + 1.6
        value = np.inf if too_high else np.nan if luck < 0.1 else float(truth.loss[point])
        guide.observe([point], [value], [luck > 0.95])
    assert guide.records.lost.sum() > 5
    for answer in guide.recommend():
        best = truth.clean[truth.space.cell == answer.cell].min()
        assert truth.clean[answer.denoised] / best - 1 < 0.001


@pytest.mark.heavy
def test_a_cell_in_which_all_runs_diverge_does_not_stop_the_search() -> None:
    truth = planted(2, 1, noise=0.0005, seed=8)
    guide = Guide(truth.space)
    for _ in range(60):
        (proposal,) = guide.propose()
        bad = truth.space.cell[proposal.index] == 1
        guide.observe([proposal.index], [np.inf if bad else float(truth.loss[proposal.index])])
    assert all(np.isfinite(a.loss) for a in guide.recommend())
    answer, other = guide.recommend()[:2]
    assert "by the law alone: no run of this cell has a loss" in other.words
    assert truth.clean[answer.denoised] / truth.clean[truth.space.cell == 0].min() - 1 < 0.001


def test_nothing_is_recommended_while_no_run_has_a_loss() -> None:
    guide = Guide(planted(2, 1, noise=0.0005, seed=8).space)
    for value in (np.inf, np.nan) * 4:
        (proposal,) = guide.propose()
        guide.observe([proposal.index], [value])
    assert guide.recommend() == []


@pytest.mark.heavy
@pytest.mark.parametrize("outlier", [1e300, 1e30, 1e-30])
def test_losses_that_no_other_record_comes_near_are_no_losses(outlier: float) -> None:
    truth = planted(2, 1, noise=0.0005, seed=8)
    guide, rng = Guide(truth.space), np.random.default_rng(0)
    for _ in range(60):
        (proposal,) = guide.propose()
        absurd = rng.random() < 0.15
        guide.observe([proposal.index], [outlier if absurd else float(truth.loss[proposal.index])])
    at_once = Guide(truth.space)
    at_once.observe(guide.records.index, np.exp(guide.records.y).tolist())
    assert proposed(guide) == proposed(at_once)
    for answer in guide.recommend():
        assert truth.clean[answer.denoised] / truth.clean[truth.space.cell == answer.cell].min() - 1 < 0.002
        assert truth.loss.min() / 2 < answer.loss < truth.loss.max() * 2
        assert not guide.records.lost[answer.recorded]


@pytest.mark.heavy
def test_a_cell_of_absurd_losses_alone_has_none() -> None:
    truth = planted(2, 1, noise=0.0005, seed=8)
    guide = Guide(truth.space)
    for _ in range(40):
        (proposal,) = guide.propose()
        bad = truth.space.cell[proposal.index] == 1
        guide.observe([proposal.index], [1e300 if bad else float(truth.loss[proposal.index])])
    other = guide.recommend()[1]
    assert other.loss < 100
    assert "no run of this cell has a loss" in other.words
    every = Guide(truth.space)
    every.observe(list(range(5)), [1e300] * 5)
    assert every.recommend() == []


@pytest.mark.heavy
def test_an_answer_that_its_own_records_contradict_is_not_trusted() -> None:
    truth = planted(1, 1, noise=0.0005, seed=4)
    guide = search(truth, 40)
    (answer, *_) = guide.recommend()
    assert answer.trust > 0.5
    low = search(truth, 40)
    unseen = next(p for p in range(len(truth.space)) if not low.records.tried[p]) if not low.records.tried.all() else 0
    low.observe([unseen], [float(truth.loss[unseen]) * 0.6])
    contradicted = low.recommend()[int(truth.space.cell[unseen])]
    assert contradicted.trust == 0
    assert "not trusted: records contradict the surface" in contradicted.words
    high = search(truth, 40)
    for _ in range(3):
        high.observe([answer.denoised], [float(truth.loss[answer.denoised]) * 1.5])
    again = next(one for one in high.recommend() if one.cell == answer.cell)
    assert again.denoised != answer.denoised or again.trust == 0


@pytest.mark.heavy
def test_recipes_share_the_curvature_and_the_better_one_is_found() -> None:
    truth = planted(2, 1, noise=0.0005, seed=9, recipes=("adamw", "muon"))
    guide = search(truth, 70)
    for answer in guide.recommend():
        assert truth.space.recipe[answer.denoised] == 1
        assert truth.clean[answer.denoised] / truth.clean[truth.space.cell == answer.cell].min() - 1 < 0.001


def test_repeated_runs_of_a_point_are_records_of_one_setting() -> None:
    truth = planted(1, 1, noise=0.0, seed=10)
    guide = Guide(truth.space)
    guide.observe([4, 4, 4, 5], [2.0, 2.002, 1.998, 2.1])
    assert len(guide.records) == 4
    assert guide.propose()[0].index not in (4, 5)


@pytest.mark.parametrize(("index", "value"), [(-1, 2.0), (10**6, 2.0), (0, -1.0), (0, 0.0)])
def test_records_that_cannot_be_are_refused_and_nothing_is_kept(index: int, value: float) -> None:
    guide = Guide(planted(1, 1, noise=0.0, seed=1).space)
    with pytest.raises(InputError, match="accepted"):
        guide.observe([1, index], [2.0, value])
    assert len(guide.records) == 0


def test_a_space_names_every_fault() -> None:
    with pytest.raises(InputError) as caught:
        CandidateSpace.of([NumericKnob("lr", "lgo")], ["N"], [[-1.0]], [0, 0], [[0.1], [0.2]], [1.0, 0.0])
    assert {"scale of lr", "axis N", "cost"} <= {f.split(" has")[0].split(" =")[0] for f in caught.value.faults}
