"""A driver and the workers of a running cluster have the same package, or the launch is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeplaw.clusters.connect.same_code import find
from tests.paths import ROOT

pytestmark = pytest.mark.process


def found_in(folder: Path) -> str:
    """Return what a process finds whose first folder of the path is this one."""
    code = (
        "import inspect, sys; from sweeplaw.clusters.connect import same_code; print(inspect.getsource(same_code.find))"
    )
    source = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    command = [sys.executable, "-c", f"{source}\nprint(*find(), sep='|')"]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True).stdout.strip()


def test_a_copy_with_another_line_is_another_package_wherever_it_is(tmp_path: Path) -> None:
    own = find()
    assert own[0] == str(ROOT / "sweeplaw" / "__init__.py")
    (tmp_path / "sweeplaw").mkdir()
    (tmp_path / "sweeplaw" / "__init__.py").write_text("raise ImportError('it is not imported')\n")
    place, _, digest = found_in(tmp_path).split("|")
    assert (place, digest == own[2]) == (str(tmp_path / "sweeplaw" / "__init__.py"), False)
    assert found_in(ROOT).split("|")[2] == own[2]
