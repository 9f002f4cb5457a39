"""A sweep of many trials through the whole path: every row right, and memory that does not follow the count."""

import json
import subprocess
import sys

import pytest

from tests.paths import ROOT


@pytest.mark.slow
def test_ten_thousand_trials_leave_exactly_their_rows_and_no_trace_in_memory(tmp_path):
    """The rehearsal of a hundred thousand, at a tenth of its size; rows kept would be 25 MB.

    An answer of a worker is let go of once it is heard: of some 400 the driver refers to those on their way. And none
    is so large that it travels through Ray's object store, which would be mapped page by page.
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
