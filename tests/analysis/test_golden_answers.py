"""The golden answers of fits, laws of knobs and comparisons, in this process: those that take little time.

`tests/test_golden.py` asks for all of them as a user does, in the tier of slow tests.
"""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from tests.golden.make import ANSWERS, INPUTS
from tests.test_golden import EXPECTED, differences, read

LONG = ("fit_additive", "fit_additive_lad", "fit_kaplan")  # seconds each

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in LONG])
def test_an_answer_is_the_golden_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(INPUTS)
    done = CliRunner().invoke(app, [*shlex.split(ANSWERS[name]), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert list(differences(read(EXPECTED, f"answers/{name}"), json.loads(done.stdout), exact=False)) == []
