"""A sweep of many trials end to end: every row is right, and memory does not grow with their number."""

import json
import subprocess
import sys

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.ray


@pytest.mark.slow
def test_ten_thousand_trials_leave_exactly_their_rows_and_nothing_in_memory(tmp_path):
    """Run the rehearsal of a hundred thousand trials at a tenth of its size; rows kept would be 25 MB.

    A worker's report is released once it is handled: of some 400 the driver refers to those on their way. None is so
    large that it travels through Ray's object store, which would be mapped page by page.
    """
    figures = tmp_path / "figures.json"
    script = ROOT / "benchmarks" / "launching" / "scale_rehearsal.py"
    command = [sys.executable, str(script), "--trials", "10000", "--workers", "", "--json", str(figures)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    path = json.loads(figures.read_text())["path"]
    assert path["faults"] == []
    assert path["references_held"] < 20
    for role in ("driver", "gcs", "raylet", "shared"):
        size = path["memory"][role]
        assert size["stayed_mb"] < 10, (role, size)
