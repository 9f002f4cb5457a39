"""Workers search the folders of the driver's path, in its order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sweeplaw.clusters.connect.import_path import driver_import_path


def test_workers_search_the_existing_folders_of_the_driver_once_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    own, absent = str(tmp_path / "own"), str(tmp_path / "absent")
    monkeypatch.setattr(sys, "path", [own, "", absent, sys.prefix, f"{sys.base_prefix}/lib", own])
    placed: list[str] = []
    for folder in driver_import_path()._py_driver_sys_path:
        placed.insert(0, folder)  # as Ray does
    assert placed == [own, str(tmp_path / "here")]
