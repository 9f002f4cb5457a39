"""Every script in `benchmarks/` and `examples/` runs at its smallest size, so that none of them rots."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALLEST: dict[str, tuple[str, ...]] = {
    "benchmarks/gpu.py": ("--small",),
    "benchmarks/launching/device_busy.py": ("--sweep", "examples/own_function/sweep.toml", "--cluster", "inline"),
    "benchmarks/launching/empty_launch.py": ("--runs", "1"),
    "benchmarks/launching/recovery.py": ("--kill", "worker", "--seconds", "2"),
    "benchmarks/launching/simulation.py": ("--nodes", "4", "--seconds", "0.2", "--share", "0.1", "--trials", "200"),
    "benchmarks/launching/slots_busy.py": ("--trials", "4", "--tune", "2"),
    "benchmarks/launching/startup.py": ("--runs", "1"),
    "benchmarks/launching/trial_rate.py": ("--trials", "100", "--tune", "2", "--reused", "4"),
    "benchmarks/laws/best_of_coverage.py": ("--replications", "4"),
    "benchmarks/laws/bootstrap_speed.py": ("--small",),
    "benchmarks/laws/coverage.py": ("--sets", "4", "--quantities", "--noise", "size"),
    "benchmarks/laws/crossing_coverage.py": ("--replications", "2"),
    "benchmarks/laws/curve_forecasts.py": ("--curves", "1"),
    "benchmarks/laws/fit_speed.py": ("--rows", "10000"),
    "benchmarks/laws/forecast_coverage.py": ("--small",),
    "benchmarks/laws/full_answer.py": ("--rows", "20000", "--cells", "20", "--seeds", "2"),
    "benchmarks/laws/hyperlaw_coverage.py": ("--sets", "1", "--resamples", "20"),
    "benchmarks/laws/hyperlaw_speed.py": ("--small",),
    "benchmarks/laws/time_law_coverage.py": ("--sets", "2"),
    "benchmarks/pages/report_size.py": ("--trials", "96"),
    "benchmarks/pages/serve_speed.py": ("--trials", "20000", "--launched", "300", "--turns", "1"),
    "benchmarks/rollouts.py": ("--small",),
    "benchmarks/sampling/sample_speed.py": ("--small",),
    "benchmarks/search.py": ("--small",),
    "benchmarks/searching/law_guided.py": ("--seeds", "1", "--shares", "1"),
    "benchmarks/searching/real_training.py": ("--small",),
    "benchmarks/searching/proposal_cost.py": ("--records", "20", "--kinds", "tpe", "law"),
    "benchmarks/store/append_speed.py": ("--records", "1000"),
    "benchmarks/store/commands_at_scale.py": ("--rows", "1000", "--only", "status", "export to Parquet"),
    "benchmarks/store/query_speed.py": ("--rows", "10000"),
    "benchmarks/store/relaunch.py": ("--trials", "10000"),
    "benchmarks/training/kernels.py": ("--small", "--backend", "aot_eager"),
    "benchmarks/training/packed_speed.py": ("--params", "2500", "--members", "2", "--steps", "1", "--turns", "1"),
    "benchmarks/training/shard_speed.py": ("--params", "20000", "--turns", "2"),
    "benchmarks/training/subset_speed.py": ("--small",),
    "benchmarks/training/train_speed.py": ("--params", "20000", "--turns", "2"),
    "benchmarks/workloads/exponent_coverage.py": ("--replications", "2", "--seeds", "3"),
    "benchmarks/workloads/ridge_speed.py": ("--trials", "16", "--processes", "1"),
    "examples/gallery/make.py": ("--small", "--cluster", "inline"),
    "examples/infinite_compute/study.py": ("--small", "--launch=--cluster inline"),
    "examples/own_function/objective.py": (),
}
ELSEWHERE = {  # scripts run by a test of their own, and those that the scripts above import or run
    "benchmarks/launching/scale_rehearsal.py",
    "benchmarks/launching/surrogate_launch.py",
    "benchmarks/launching/tune_peer.py",
    "benchmarks/searching/bound.py",
    "benchmarks/searching/latency.py",
    "benchmarks/searching/peers.py",
    "benchmarks/searching/recorded_tables.py",
    "benchmarks/searching/truths.py",
    "examples/gallery/decisions.py",
    "examples/gallery/pages.py",
    "examples/gallery/phenomena.py",
    "examples/gallery/theory_decisions.py",
    "examples/gallery/theory_pages.py",
    "examples/notebooks/execute.py",
    "examples/own_script/train.py",
}


def test_every_script_has_its_smallest_size() -> None:
    found = {
        str(path.relative_to(ROOT)) for folder in ("benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
    }
    assert found == set(SMALLEST) | ELSEWHERE


@pytest.mark.parametrize("script", sorted(SMALLEST))
def test_a_script_runs_at_its_smallest_size(script: str) -> None:
    for package in ("duckdb", "pandas", "psutil", "sklearn", "transformers"):
        pytest.importorskip(package, reason="the extra `bench` is not installed")
    command = [sys.executable, script, *SMALLEST[script]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
