"""`sweeplaw evaluate`: ensembles of the seeds of each point, and what it says of models that cannot be evaluated."""

from __future__ import annotations

import importlib

import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables.tables import load
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError
from tests.trials.kept.test_kept_weights import MARKOV, SWEEP, launched

opening = importlib.import_module("sweeplaw.trials.corpus.open")


@pytest.mark.heavy
def test_ensembles_that_cannot_be_evaluated_are_told_with_the_reason(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a text that is gone later. " * 400)
    sweep = SWEEP.replace(MARKOV, f"text:{text}").replace("[scientific]", "seeds = 2\n[scientific]")
    store, done, ids = launched(sweep, tmp_path / "s")
    assert done.states == {"completed": 2}
    text.unlink()
    opening._open.cache_clear()  # as in a new process
    named = [word for trial_id in ids for word in ("--trial", trial_id)]
    for form in ([], ["--json"]):
        result = CliRunner().invoke(app, ["evaluate", store.location.uri, *named, *form])
        assert result.exit_code == 5
        assert "3  corpus = " in result.stderr
        assert "matches no file" in result.stderr


@pytest.mark.heavy
def test_the_seeds_of_each_point_are_an_ensemble_as_the_members_of_one_trial_are(tmp_path):
    points = SWEEP.replace("width = [16]", "width = [16, 24]").replace("2048", "512")
    alone, _, _ = launched(points.replace("[scientific]", "seeds = 2\n[scientific]"), tmp_path / "alone")
    pack, _, _ = launched(points.replace("[fixed]", "[fixed]\nmembers = 2"), tmp_path / "pack")
    for store in (alone, pack):
        result = CliRunner().invoke(app, ["evaluate", store.location.uri, "--best"])
        assert (result.exit_code, result.exception) == (0, None)
        assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["1", "1", "2", "2"]
    own, packed = (
        load(store.location.uri).trials.filter(workload=workload, members=2).collect().sort("width")["val_loss"]
        for store, workload in ((alone, "ensemble"), (pack, "language_model"))
    )
    assert own.to_list() == pytest.approx(packed.to_list(), abs=1e-6)
    for words, said in (("--trial 0 --best", "or --best"), ("", "or --best"), ("--best --sweep x", "no launch")):
        result = CliRunner().invoke(app, ["evaluate", alone.location.uri, *words.split()])
        assert isinstance(result.exception, InputError)
        assert said in str(result.exception)
