"""Jobs on a real Slurm of three nodes (namespaces of this machine), two of them at once on the same nodes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

REHEARSAL = ROOT.parent / "shared" / "slurm_rehearsal.sh"
MISSING = [name for name in ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not REHEARSAL.exists(), reason="the rehearsal script is not beside the repository"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """Observations of `rehearse_slurm.py`; one rehearsal serves all tests."""
    with tempfile.TemporaryDirectory(prefix="sr-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        program = [sys.executable, str(Path(__file__).with_name("rehearse_slurm.py")), name]
        done = subprocess.run(
            ["bash", str(REHEARSAL), str(folder / "w"), *program], capture_output=True, text=True, cwd=ROOT, check=False
        )
        if not (folder / "seen.json").exists():
            outputs = "\n".join(f"{path.name}:\n{path.read_text()}" for path in folder.glob("*/*.out"))
            pytest.fail(f"the rehearsal did not end (code {done.returncode}):\n{done.stderr}\n{outputs}")
        text = (folder / "seen.json").read_text()
        print(text)  # the times, for a run with -s
        yield json.loads(text)


def test_trials_run_on_every_node_and_gpu_of_the_job(seen: dict[str, Any]) -> None:
    spread = seen["spread"]
    assert (spread["nodes"], spread["gpus"], spread["note"]) == (3, 6, None)
    assert spread["slots"] == 3  # one core a node was requested
    assert {host for host, _ in spread["seen"]} == {"n1", "n2", "n3"}
    assert {device for _, device in spread["seen"]} <= {"0", "1"}


def test_words_of_the_driver_pass_through_no_shell(seen: dict[str, Any]) -> None:
    assert seen["spread"]["words"] == ["a b; $(touch pwned)"]


def test_the_job_ends_soon_with_the_exit_code_of_the_driver(seen: dict[str, Any]) -> None:
    assert (seen["spread"]["JobState"], seen["spread"]["ExitCode"]) == ("FAILED", "3:0")
    assert seen["spread"]["left_after"] < 30  # Ray's own workers stay for more than a minute


def test_two_jobs_on_the_same_nodes_do_not_collide(seen: dict[str, Any]) -> None:
    assert seen["joined"] is not None
    assert seen["spread_over"] is not None


def test_a_node_whose_ray_was_killed_joins_again(seen: dict[str, Any]) -> None:
    assert seen["rejoined"] is not None
    assert seen["death_noticed"] is not None
    assert seen["whole_again"] is not None


def test_notice_leads_to_a_checkpoint_a_requeue_and_the_rest_of_the_sweep(seen: dict[str, Any]) -> None:
    assert seen["requeued"] is not None
    assert seen["left_on_requeue"] is not None
    assert seen["patient"] == {"JobState": "COMPLETED", "ExitCode": "0:0", "Restarts": "1"}


def test_an_array_of_small_jobs_runs_each_on_its_own_node(seen: dict[str, Any]) -> None:
    assert seen["small"]["JobState"] == "COMPLETED"
    assert seen["small"]["seen"] == [["local", 1, 0]] * 2


def test_an_array_of_small_jobs_shares_one_sweep_and_one_store(seen: dict[str, Any]) -> None:
    shared = seen["shared"]
    assert shared["JobState"] == "COMPLETED", shared["output"]
    assert (shared["rows"], shared["trials"]) == (40, 40)
    assert len(shared["launches"]) == 2, shared["output"]  # both jobs ran trials
    assert all(10 <= count <= 30 for count in shared["launches"].values())  # about half each


def test_a_job_whose_ray_cannot_start_fails_with_the_reason(seen: dict[str, Any]) -> None:
    assert seen["broken"]["JobState"] == "FAILED"
    assert seen["broken"]["ExitCode"] != "0:0"
    assert "slurm.interface = 'absent0' has no address" in seen["broken"]["output"]


def test_a_cancelled_job_leaves_no_ray_behind(seen: dict[str, Any]) -> None:
    assert seen["left_on_cancel"] is not None
