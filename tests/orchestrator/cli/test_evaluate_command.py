"""What `sweeplaw evaluate` says of models that cannot be evaluated."""

from __future__ import annotations

import importlib

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
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
