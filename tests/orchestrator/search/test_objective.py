"""An objective that trials never report ends the search, or is refused where its workload cannot have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.adaptive.objective_watch import FEW
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

FUNCTION = """
name = "mine"
workload = "python:objective:train"
[search]
kind = "tpe"
objective = "{objective}"
[budget]
trials = 40
[scientific]
width = [8]
[nuisance]
lr = {{ log = [1e-4, 1e-1] }}
"""


def run(tmp_path: Path, body: str, objective: str = "accuracy") -> Launched:
    (tmp_path / "objective.py").write_text(f"def train(config):\n    {body}\n")
    sweep = parse(FUNCTION.format(objective=objective), folder=tmp_path)
    return launch(plan(sweep), Store.open(tmp_path / "s", create=True), Profile(kind="inline"))


@pytest.mark.heavy
def test_a_search_ends_after_a_few_trials_that_do_not_report_its_objective(tmp_path: Path) -> None:
    done = run(tmp_path, "return {'acuracy': 0.5, 'val_loss': 1.0}")
    assert sum(done.states.values()) == FEW
    assert done.end is not None
    assert done.end.failing
    assert done.search_end == done.end.reason
    assert f"none of the {FEW} trials that ended reported the objective accuracy; did you mean 'acuracy'? " in (
        done.search_end
    )
    assert "(they reported: acuracy, val_loss)" in done.search_end


@pytest.mark.heavy
def test_after_the_script_is_mended_the_next_launch_goes_on(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    body = f"import os; return {{'val_loss': 1.0, **({{'error': 1.0}} if os.path.exists({str(mended)!r}) else {{}})}}"
    assert "reported the objective error" in run(tmp_path, body, objective="error").search_end
    mended.touch()
    done = run(tmp_path, body, objective="error")
    assert done.search_end == "budget.trials = 40 is spent"
    trials = tables.load(str(tmp_path / "s"), states=None).trials.collect()
    assert trials["error"].null_count() == FEW


@pytest.mark.heavy
def test_trials_without_it_do_not_end_a_search_of_which_one_has_it(tmp_path: Path) -> None:
    done = run(tmp_path, "return {'val_loss': 1.0, **({'accuracy': 1.0} if config['lr'] < 1e-2 else {})}")
    assert done.search_end == "budget.trials = 40 is spent"


def test_an_objective_that_a_workload_never_measures_is_refused_with_the_nearest() -> None:
    text = FUNCTION.replace("python:objective:train", "surrogate").replace(
        "width = [8]", "params = [1e6]\ntokens = [1e8]"
    )
    with pytest.raises(InputError, match=r"surrogate measures no 'noiseles_loss'; did you mean 'noiseless_loss'\?"):
        registry.check(parse(text.format(objective="noiseles_loss")))
    registry.check(parse(text.format(objective="noiseless_loss")))
    registry.check(parse(text.format(objective="train_seconds")))
