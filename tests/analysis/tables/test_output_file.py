"""Files that a user asks for: whole or not at all, and written at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeplaw.analysis.tables.files.output_file import write_file


def test_a_file_is_replaced_by_a_whole_one_and_nothing_waits_for_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    path = tmp_path / "table.csv"
    path.write_text("old")
    write_file(path, lambda name: Path(name).write_text("new"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    assert waits == []
