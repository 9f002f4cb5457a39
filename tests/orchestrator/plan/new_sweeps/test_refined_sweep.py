"""A sweep with the schedule that gradient norms call for, of curves planted by hand."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator.cli.training.first_trial import first_trial
from sweeplaw.orchestrator.plan.new_sweeps.refined_sweep import refined_sweep
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.training.schedules import points
from sweeplaw.trials.training.schedules.refined import refined
from tests.paths import ROOT

STEPS = 100
NORMS = [float(step) ** 0.5 for step in range(10, STEPS + 1, 10)]
KNOBS = {
    "corpus": "markov:states=8,order=1",
    "width": 32,
    "lr": 0.01,
    "optimizer": "adamw",  # as by default
    "schedule": "wsd",
    "warmup_fraction": 0.1,
    "decay_fraction": 0.25,
}


def tables(knobs: dict[str, Any], norms: list[float | None], workload: str = "language_model") -> Tables:
    row = {"trial_id": "0123456789", "workload": workload, "steps": STEPS, "spec": json.dumps({"knobs": knobs})}
    at = [STEPS * (place + 1) // len(norms) for place in range(len(norms))]
    curve = pl.DataFrame({"trial_id": "0123456789", "step": at[::-1], "grad_norm": norms[::-1]})
    other = pl.DataFrame({"trial_id": "x", "step": [50], "grad_norm": [1e9]})
    return Tables(pl.LazyFrame([row]), pl.concat([curve, other]).lazy(), {}, "trials", ())


@pytest.mark.parametrize(("optimizer", "power"), [("adamw", 1.0), ("sgd", 2.0)])
def test_the_sweep_is_the_trial_with_the_schedule_of_its_norms(optimizer: str, power: float) -> None:
    text = refined_sweep(tables({**KNOBS, "optimizer": optimizer}, NORMS), "0123456789")
    assert text.startswith("# Trial 0123456789 again, with the schedule that its gradient norms call for.\n")
    found = toml_file.parse(text)
    planted = points.write(refined(range(10, STEPS + 1, 10), NORMS, STEPS, power))
    other = {} if optimizer == "adamw" else {"optimizer": "sgd"}
    assert found == {
        "name": "refined-01234567",
        "workload": "language_model",
        "fixed": {
            "corpus": "markov:states=8,order=1", "width": 32, "lr": 0.01, **other, "schedule": "points",
            "warmup_fraction": 0.0,
        },
        "scientific": {"schedule_points": [planted]},
    }  # fmt: skip
    assert toml_file.parse(refined_sweep(tables(KNOBS, NORMS), "0123456789", "mine"))["name"] == "mine"


def test_points_without_a_norm_do_not_count() -> None:
    every = refined_sweep(tables(KNOBS, [float(k) for k in range(1, 6)]), "0123456789")
    some: list[float | None] = [value for k in range(1, 6) for value in (None, float(k))]
    assert refined_sweep(tables(KNOBS, some), "0123456789") == every


@pytest.mark.parametrize(
    ("found", "trial", "words"),
    [
        (tables(KNOBS, NORMS), "none", "trial none has not completed (accepted: a completed one of language_model)"),
        (tables(KNOBS, NORMS, "ridge"), "0123456789", "trial 0123456789 is of the workload 'ridge'"),
        (tables({**KNOBS, "changes": "lr@10=1"}, NORMS), "0123456789", "changed its lr on the way"),
        (tables(KNOBS, NORMS[:2]), "0123456789", "the curve of trial 0123456789 has 2 gradient norms"),
    ],
)
def test_a_trial_without_such_norms_is_refused(found: Tables, trial: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        refined_sweep(found, trial)
    assert words in str(error.value)


@pytest.mark.heavy
def test_the_first_trial_of_a_sweep_is_of_a_language_model(tmp_path: Any) -> None:
    shipped = ROOT / "orchestrator/sweeps/surrogate.toml"
    with pytest.raises(InputError, match=r"a sweep of the workload 'surrogate' \(accepted: 'language_model'\)"):
        first_trial(str(shipped))
    shape = "depth = 1\nwidth = 8\nheads = 1\nffn = 8\n"
    text = (
        'name = "t"\n{}[scientific]\nunique_tokens = [4096]\n[nuisance]\nlr = [0.02, 0.01]\n[fixed]\ncorpus = "{}"\n'
        + shape
    )
    sweep = tmp_path / "t.toml"
    sweep.write_text(text.format("", "markov:states=8,order=1"))
    assert first_trial(str(sweep))[1]["lr"] == 0.02
    sweep.write_text(text.format('where = "lr > 1"\n', "markov:states=8,order=1"))
    with pytest.raises(InputError, match="no trials are left"):
        first_trial(str(sweep))
    sweep.write_text(text.format("", f"text:{tmp_path}/none.txt"))
    with pytest.raises(InputError, match="matches no file"):
        first_trial(str(sweep))
    search = '[search]\nkind = "tpe"\n[budget]\ntrials = 3\n'
    sweep.write_text(text.format(search, "markov:states=8,order=1"))
    assert first_trial(str(sweep))[1]["unique_tokens"] == 4096
