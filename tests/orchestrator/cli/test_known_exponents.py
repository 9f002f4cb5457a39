"""From a sweep file to a law: the fit of a store of ridge regressions has the exponents that theory gives.

The sweep that is shipped runs with four in ten of its seeds; nothing between its knobs and the interval is replaced.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweeplaw.trials.workloads.ridge.exponents import in_features, in_samples
from tests.orchestrator.schemas.test_answers import faults
from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(900)]

SWEEP = ROOT / "orchestrator/sweeps/ridge.toml"
CASES = [("D", 0.35, in_samples(3.0, 0.35, noisy=False)), ("N", 0.65, in_features(3.0, 0.65))]


def command(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "sweeplaw", *arguments], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ridge")
    content = SWEEP.read_text()
    assert "seeds = 1000\n" in content
    (folder / "ridge.toml").write_text(content.replace("seeds = 1000\n", "seeds = 400\n"))
    command("launch", str(folder / "ridge.toml"), "--store", str(folder / "store"), "--cluster", "inline")
    return folder / "store"


@pytest.mark.parametrize(("size", "source", "exponent"), CASES)
def test_a_fitted_exponent_is_within_a_percent_of_theory_and_its_interval_holds_it(
    store: Path, size: str, source: float, exponent: float
) -> None:
    where = f"source_exponent = {source}"
    options = ["--objective", "ls", "--space", "raw", "--weights", "noise", "--json"]
    answer = json.loads(command("fit", str(store), "power", "--x", f"x={size}", "--where", where, *options))
    assert answer["verified"]
    assert answer["params"]["alpha"] == pytest.approx(exponent, rel=0.01)
    interval = answer["intervals"]["alpha"]
    assert interval["low"] < exponent < interval["high"]
    assert interval["high"] - interval["low"] < 0.05 * exponent


@pytest.mark.parametrize("source", [0.35, 0.65])
def test_the_mean_loss_of_each_size_is_that_of_the_closed_form(store: Path, source: float) -> None:
    """Within four standard errors and 3 / n, by which samples or features so few exceed it."""
    sql = f"""SELECT avg(val_loss) AS loss, stddev(val_loss) AS spread, count(*) AS runs, max(theory_loss) AS theory,
    min(N) AS n, min(D) AS d FROM trials WHERE source_exponent = {source} GROUP BY N, D"""
    rows = json.loads(command("query", str(store), sql, "--json"))
    assert faults("query", rows) == []
    assert len(rows) == 6
    for row in rows:
        error = row["spread"] / row["runs"] ** 0.5
        assert abs(row["loss"] - row["theory"]) < 4 * error + 3 / min(row["n"], row["d"]) * row["theory"]
