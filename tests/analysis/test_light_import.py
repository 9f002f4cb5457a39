"""`import analysis` is light, and its names are not its modules' names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sweeplaw import analysis


def test_import_analysis_pulls_in_neither_ray_nor_torch() -> None:
    code = "import sys; from sweeplaw import analysis; analysis.fit; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_exported_name_is_hidden_by_a_module_of_that_name() -> None:
    modules = {path.stem for path in Path(analysis.__file__).parent.glob("*.py")}
    assert not modules & set(analysis.__all__)


def test_every_exported_name_is_there() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None
