"""`sweeplaw sample` that is killed leaves no text, and the same call afterwards makes the whole one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.sampling.corpora import load_text
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.store_format.synthetic_corpora import FOLDER

pytestmark = [pytest.mark.kill, pytest.mark.slow]

SWEEP = """
name = "teacher"
workload = "language_model"
keep = "final"
[scientific]
unique_tokens = [512]
[fixed]
corpus = "markov:states=12,tokens=65536"
context = 16
width = 16
depth = 1
validation_tokens = 512
"""
CALLED = """
import sys
from sweeplaw.orchestrator.cli import main
from sweeplaw.trials.sampling import sample
real, calls = sample.sample, 0
def counted(*arguments, **options):
    global calls
    calls += 1
    if calls == 3:
        print("sampling", flush=True)
    return real(*arguments, **options)
sample.sample = counted
main()
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "s"
    launch(plan(parse(SWEEP)), Store.open(folder, create=True), Profile(kind="inline"))
    return folder


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_killed_call_leaves_no_text(store: Path, number: signal.Signals, code: int) -> None:
    trial = str(load(store).trials.collect()["trial_id"][0])
    words = ["sample", str(store), "--trial", trial, "--seed", str(int(number)), "--tokens"]
    with subprocess.Popen(
        [sys.executable, "-c", CALLED, *words, "2M"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "sampling\n"
        time.sleep(0.2)
        child.send_signal(number)
        _, error = child.communicate(timeout=60)
    assert child.returncode == code
    assert "Traceback" not in error
    before = locate(store).names(FOLDER, ".safetensors")
    assert not any(
        name for name in before if load_text(f"synthetic:{name}?vocab=12", "none", str(store)).tokens.size > 1e6
    )
    done = subprocess.run([sys.executable, "-m", "sweeplaw", *words, "16k"], capture_output=True, text=True, check=True)
    assert len(locate(store).names(FOLDER, ".safetensors")) == len(before) + 1
    assert load_text(done.stdout.strip(), "none", str(store)).tokens.shape == (1000, 17)
