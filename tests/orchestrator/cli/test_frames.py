"""Rows in the formats that people print."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.orchestrator.cli.shared import frames
from sweeplaw.trials.errors import InputError


def test_times_in_json_are_in_utc_whatever_their_zone(capsys: pytest.CaptureFixture[str]) -> None:
    noon = dt.datetime(2026, 1, 2, 12)
    zoned = pl.Series("zoned", [noon]).dt.replace_time_zone("Europe/Berlin")
    frames.emit(pl.DataFrame([zoned, pl.Series("plain", [noon])]), frames.OutputFormat("json"))
    assert json.loads(capsys.readouterr().out) == [
        {"zoned": "2026-01-02T11:00:00.000000Z", "plain": "2026-01-02T12:00:00.000000Z"}
    ]


def test_rows_as_latex_say_what_the_table_on_the_terminal_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame({"N": [1000, None], "name": ["a_b & c", "50 %"], "loss": [2.5, 1e-9]})
    frames.emit(frame, frames.OutputFormat("tex"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"\begin{tabular}{rlr}"
    assert lines[4:6] == [r"1000 & a\_b \& c & 2.5 \\", r"- & 50 \% & 1e-09 \\"]
    frames.emit(frame, frames.output_format(json=False, csv=False, ndjson=False, latex=False, out=tmp_path / "t.tex"))
    assert (tmp_path / "t.tex").read_text().splitlines() == lines
    with pytest.raises(InputError, match="only one of"):
        frames.output_format(json=False, csv=True, ndjson=False, latex=True, out=None)
