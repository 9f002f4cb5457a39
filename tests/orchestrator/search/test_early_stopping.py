"""Early stopping: what is stopped, with which prediction, and that the best is hardly ever lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import Observation, Setting
from sweeplaw.orchestrator.search.early_stopping import FEWEST, LINE, predicted
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "stopping"
workload = "surrogate"
[search]
kind = "{kind}"
samples = 24
[search.early_stopping]
checks = 2
first = 0.25
{budget}
[scientific]
params = [1e6]
tokens = [1e8]
[nuisance]
lr = {{ log = [1e-4, 1e-1] }}
"""


@pytest.mark.heavy
def test_hopeless_trials_are_stopped_with_their_prediction_and_the_best_is_found(tmp_path: Path) -> None:
    text = SWEEP.format(kind="random", budget="")
    done = launch(plan(parse(text)), Store.open(tmp_path / "s", create=True), Profile(kind="inline"))
    rows = tables.load(str(tmp_path / "s"), states=None).trials.collect()
    stopped, completed = rows.filter(pl.col("state") == "stopped"), rows.filter(pl.col("state") == "completed")
    assert done.states == {"stopped": stopped.height, "completed": completed.height}
    assert stopped.height >= 10
    assert stopped["val_loss"].null_count() == stopped.height
    assert (stopped["last_step"] < stopped["steps"]).all()
    whole = launch(plan(parse(text.replace("[search.early_stopping]\nchecks = 2\nfirst = 0.25\n", ""))),
                   Store.open(tmp_path / "whole", create=True), Profile(kind="inline"))  # fmt: skip
    truth = tables.load(str(tmp_path / "whole")).trials.select("trial_id", true="val_loss").collect()
    assert whole.states == {"completed": 24}
    assert completed["val_loss"].min() == truth["true"].min()
    # the surrogate's curves fall alike, so the prediction is exact there
    compared = stopped.join(truth, on="trial_id")
    assert compared.height == stopped.height
    assert np.allclose(compared["predicted_val_loss"], compared["true"], rtol=1e-9)
    assert not list((tmp_path / "s/checkpoints").iterdir())


def curve_of(final: float, rng: np.random.Generator, number: int, share: float = 1.0) -> Observation:
    """Return a planted curve: a power law in the step whose size and noise vary between trials."""
    steps = 1000
    at = [step for step in range(100, 1001, 100) if step <= share * steps]
    size = np.exp(rng.normal(0.0, 0.2))
    losses = [final + size * (step**-0.5 - steps**-0.5) * 20 + rng.normal(0, 0.01) for step in at]
    losses[-1] = final if share == 1.0 else losses[-1]
    done = share == 1.0
    return Observation(
        Setting(0, ((number,),)),
        "completed" if done else "paused",
        (final,) if done else (),
        step=at[-1],
        steps=steps,
        curve=tuple(zip(at, losses, strict=True)),
    )


@pytest.mark.heavy
def test_the_predicted_probability_is_calibrated_on_planted_curves() -> None:
    """Of 2,000 trials that pause at a quarter, those called worse with 95 % are worse; the probability is honest."""
    called, right, all_probabilities, outcomes = 0, 0, [], []
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        finals = rng.normal(3.0, 0.15, 9)
        others = [curve_of(final, rng, number) for number, final in enumerate(finals[1:])]
        found = predicted(curve_of(finals[0], rng, 99, share=0.25), others)
        assert found is not None
        worse = finals[0] > min(finals[1:])
        all_probabilities.append(found.worse)
        outcomes.append(worse)
        if found.worse >= 0.95:
            called, right = called + 1, right + worse
    assert called > 400
    assert right / called > 0.95
    probabilities, truth = np.array(all_probabilities), np.array(outcomes)
    middle = (probabilities > 0.3) & (probabilities < 0.8)
    assert abs(truth[middle].mean() - probabilities[middle].mean()) < 0.08


@pytest.mark.parametrize("count", [FEWEST, LINE - 1, LINE, LINE + 3])
def test_the_prediction_is_that_of_a_line_through_the_falls_of_finished_curves(count: int) -> None:
    """With its predictive t distribution, as of any regression; of fewer curves it is the mean of their falls."""
    rng = np.random.default_rng(1)
    losses, falls = rng.normal(4.0, 0.3, count), rng.normal(-0.5, 0.1, count)
    others = [
        Observation(Setting(0, ((number,),)), "completed", (float(at + fall),), step=1000, steps=1000,
                    curve=((200, 9.0), (250, float(at)), (1000, float(at + fall))))
        for number, (at, fall) in enumerate(zip(losses, falls, strict=True))
    ]  # fmt: skip
    found = predicted(Observation(Setting(0, ((99,),)), "paused", step=250, steps=1000, curve=((250, 4.1),)), others)
    assert found is not None
    if count >= LINE:
        line = stats.linregress(losses, falls)
        final, free = 4.1 + line.intercept + line.slope * 4.1, count - 2
        left = falls - line.intercept - line.slope * losses
        reach = 1 / count + (4.1 - losses.mean()) ** 2 / np.sum((losses - losses.mean()) ** 2)
    else:
        final, free, left, reach = 4.1 + falls.mean(), count - 1, falls - falls.mean(), 1 / count
    spread = np.sqrt(np.sum(left**2) / free * (1 + reach))
    assert found.loss == pytest.approx(final)
    assert found.worse == pytest.approx(stats.t.cdf((final - (losses + falls).min()) / spread, free))
    assert found.curves == count


def test_there_is_no_prediction_from_too_few_curves() -> None:
    rng = np.random.default_rng(0)
    paused = curve_of(3.0, rng, 99, share=0.25)
    assert predicted(paused, [curve_of(3.0, rng, number) for number in range(3)]) is None
    assert predicted(paused, []) is None


def test_a_search_that_pauses_by_itself_takes_no_early_stopping() -> None:
    with pytest.raises(InputError, match="by its own rule"):
        registry.check(parse(SWEEP.format(kind="halving", budget="")))
