"""A search that cannot work is refused before anything starts, with what would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "bad"
workload = "surrogate"
seeds = {seeds}
[search]
{search}
{budget}
[scientific]
params = [{params}]
tokens = [1e8]
[nuisance]
{nuisance}
"""
LADDER = "lr = { log = [1e-4, 1e-1], num = 5 }"
RANGE = "lr = { log = [1e-4, 1e-1] }"
TRIALS = "[budget]\ntrials = 10"


def check(
    search: str, budget: str = TRIALS, *, nuisance: str = LADDER, params: str = "1e6, 1e7", seeds: int = 1
) -> None:
    text = SWEEP.format(search=search, budget=budget, nuisance=nuisance, params=params, seeds=seeds)
    registry.check(parse(text))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ('kind = "tpee"', r"search.kind: 'tpee'; accepted are grid, .*; did you mean 'tpe'\?"),
        ('kind = "optuna"', "search.sampler: missing; accepted is module:Class, such as optuna.samplers:QMCSampler"),
        (
            'kind = "optuna"\nsampler = "optuna.samplers:QMCSampelr"',
            r"optuna.samplers has no sampler 'QMCSampelr'; did you mean 'QMCSampler'\?",
        ),
        ('kind = "optuna"\nsampler = "optuna.sampelrs:Any"', "optuna.sampelrs cannot be imported"),
        ('kind = "tpe"\noptions = { gama = 3 }', r"options.gama: TPESampler has no such option \(accepted: .*gamma"),
        ('kind = "cmaes"\nobjectives = ["val_loss", "train_loss"]', "CmaEsSampler cannot search this sweep: .*multi"),
        ('kind = "law"\nstop = "1 %"', 'search.stop: \'1 %\'; accepted is a price such as "0.01 % per 1e18 FLOPs"'),
        ('kind = "law"\ntarget = { N = 1e9 }', r"search.target: N \(accepted: a value for each of params, tokens\)"),
        ('kind = "local"\nmoves = [{ lrr = 1 }]', r"search.moves: no axis lrr; did you mean 'lr'\?"),
        ('kind = "population"', r"which surrogate cannot \(accepted: language_model, or code of your own"),
        ('kind = "tpe"\nmaximized = ["x"]\nobjectives = ["val_loss", "acc"]', "surrogate measures no 'acc'"),
    ],
)  # fmt: skip
def test_a_search_that_does_not_exist_or_cannot_do_this(search: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(search)


@pytest.mark.parametrize("kind", ["tpe", "law", "local", 'grid"\n[search.early_stopping]\nchecks = "2'])
def test_a_budget_of_less_than_one_setting_names_the_smallest_that_works(kind: str) -> None:
    search = f'kind = "{kind}"'.replace('"2"', "2")
    with pytest.raises(InputError, match=r"budget.flops = 1e\+12 is less than .* \(accepted: at least 6e\+14\)"):
        check(search, "[budget]\nflops = 1e12")
    with pytest.raises(InputError, match=r"budget.trials = 2 is less than one setting needs \(accepted: at least 3, "):
        check(search, "[budget]\ntrials = 2", seeds=3)
    check(search, "[budget]\nflops = 6e14")


def test_a_budget_is_checked_where_axes_are_ranges_and_where_trials_pause() -> None:
    with pytest.raises(InputError, match=r"accepted: at least 6e\+14"):
        check('kind = "tpe"', "[budget]\nflops = 1e12", nuisance=RANGE)
    with pytest.raises(InputError, match=r"accepted: at least 1.5e\+14"):
        check('kind = "halving"\nfirst = 0.25', "[budget]\nflops = 1e12", nuisance=RANGE)
    check('kind = "halving"\nfirst = 0.25', "[budget]\nflops = 1.6e14", nuisance=RANGE)


def test_a_law_guided_sweep_with_too_few_points_or_levels_says_what_would_do() -> None:
    with pytest.raises(InputError, match=r"the sweep has 1 \(accepted: at least 2; for a single one, local, tpe or gp"):
        check('kind = "law"', params="1e6")
    with pytest.raises(InputError, match=r"nuisance.lr has 2 values \(accepted: at least 3"):
        check('kind = "law"', nuisance="lr = [0.001, 0.01]")
    with pytest.raises(InputError, match=r"a range without num; the search law needs"):
        check('kind = "law"', nuisance=RANGE)


OWN = """
name = "own"
[workload]
kind = "python:math:sqrt"
[workload.knobs]
params_embedding = 0
tokens = { type = "int", unit = "tokens", meaning = "training tokens", low = 1 }
lr = { type = "float", meaning = "learning rate" }
[budget]
flops = 1.0
[scientific]
params = [1e6, 1e7]
tokens = [1000]
[nuisance]
lr = [0.001, 0.01, 0.1]
"""


def test_a_budget_of_flops_is_refused_where_the_flops_of_trials_are_unknown() -> None:
    with pytest.raises(InputError, match=r"budget\.flops = 1, but the FLOPs of the trials are not known"):
        plan(parse(OWN))
    with pytest.raises(InputError, match=r"budget\.flops = 1, but the FLOPs of the trials are not known"):
        registry.check(parse(OWN + '[search]\nkind = "law"\n'))


def test_an_endless_search_needs_a_budget() -> None:
    for search in ('kind = "tpe"', 'kind = "archive"', 'kind = "law"'):
        with pytest.raises(InputError, match=r"\[budget\]"):
            check(search, "")


def test_halving_of_a_function_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def train(config):\n    return 1.0\n")
    text = SWEEP.format(search='kind = "halving"', budget="", nuisance=LADDER, params="1e6", seeds=1)
    sweep = parse(text.replace('"surrogate"', '"python:mine:train"'), folder=tmp_path)
    with pytest.raises(
        InputError, match=r"resumes from what it wrote into its checkpoint_folder, with checkpoints = true"
    ):
        registry.check(sweep)


def test_a_maximized_metric_that_is_no_objective_is_refused() -> None:
    with pytest.raises(InputError, match=r"search.maximized: 'speedd' is none of the objectives; did you mean 'speed'"):
        check('kind = "nsga2"\nobjectives = ["val_loss", "speed"]\nmaximized = ["speedd"]')
    with pytest.raises(InputError, match=r"search.maximized: 'val_loss' .*none without search.objectives"):
        check('kind = "tpe"\nmaximized = ["val_loss"]')


OPTIMIZERS = """
name = "bad"
workload = "language_model"
search = {{ {search} }}
budget.trials = 54
scientific.width = [16, 32]
[nuisance]
lr = {lr}
optimizer = ["adamw", "muon", "sgd"]
momentum = [0.1, 0.5, 0.9]
[fixed]
corpus = "markov:states=16"
"""


@pytest.mark.parametrize(
    "search",
    ['kind = "law"', 'kind = "local", moves = [{ lr = 1 }]', 'kind = "halving"', 'kind = "tpe"', 'kind = "grid"'],
)
@pytest.mark.parametrize("lr", ["{ log = [1e-3, 1e-1], num = 3 }", "{ log = [1e-3, 1e-1] }"])
def test_knobs_that_do_not_go_together_at_some_settings_are_refused_before_anything_trains(
    search: str, lr: str
) -> None:
    if "num" not in lr and any(kind in search for kind in ("law", "local", "grid")):
        pytest.skip("needs a ladder")
    sweep = parse(OPTIMIZERS.format(search=search, lr=lr))
    with pytest.raises(InputError) as caught:
        (registry.check if sweep.search.proposes else plan)(sweep)
    assert set(caught.value.faults) == {
        f"momentum = {value} is no knob of optimizer = 'adamw' (accepted with: sgd, muon)" for value in (0.1, 0.5, 0.9)
    }
