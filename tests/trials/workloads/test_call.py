"""What a script is started with: arguments, environment and folders, and where its reports come from."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.user_code.call import PLACEHOLDERS, Call
from sweeplaw.trials.workloads.user_code.report_format import ReportFormat


def call(tmp_path: Path, *argv: str, env: dict[str, str] | None = None, cwd: str = "", **options: Any) -> Call:
    spec = TrialSpec("command", {"lr": 0.125, "command": json.dumps({"argv": argv, "env": env or {}})})
    where = {name: options.pop(name) for name in ("checkpoints", "threads", "micro_batch_divisor") if name in options}
    context = Context("cuda", tmp_path / "pack", **where)
    return Call.from_spec(spec, context, cwd=cwd, sweep_folder=tmp_path / "sweeps", **options)


def test_every_placeholder_has_its_value(tmp_path: Path) -> None:
    made = call(tmp_path, *(f"{{{name}}}" for name in PLACEHOLDERS), "{lr:.1e}", threads=3, micro_batch_divisor=4)
    found = dict(zip([*PLACEHOLDERS, "lr"], made.argv, strict=True))
    folder = (tmp_path / "pack").resolve() / found["trial_id"]
    assert found == {
        "python": sys.executable,
        "spec_file": f"{folder}/spec.json",
        "metrics_file": f"{folder}/metrics.jsonl",
        "folder": str(folder),
        "checkpoint_folder": f"{tmp_path}/pack/checkpoints/{folder.name}",
        "sweep_folder": f"{tmp_path}/sweeps",
        "trial_id": folder.name,
        "threads": "3",
        "device": "cuda",
        "shrink": "4",
        "lr": "1.2e-01",
    }
    assert (made.folder, made.spec_file) == (folder, folder / "spec.json")


def test_the_environment_is_that_of_this_process_with_ours_and_then_the_users(tmp_path: Path) -> None:
    made = call(tmp_path, "train", env={"LR": "{lr}", "OMP_NUM_THREADS": "8"}, threads=3)
    assert made.env["LR"] == "0.125"
    assert made.env["OMP_NUM_THREADS"] == "8"
    assert made.env["PATH"] == os.environ["PATH"]
    assert made.env["PYTHONUNBUFFERED"] == "1"
    assert made.env["SWEEPLAW_SPEC_FILE"] == str(made.spec_file)
    assert made.env["SWEEPLAW_CHECKPOINT_FOLDER"] == made.checkpoint_folder
    assert call(tmp_path, "train", threads=3).env["OMP_NUM_THREADS"] == "3"


def test_reports_come_from_what_is_printed_unless_a_file_is_named(tmp_path: Path) -> None:
    assert call(tmp_path, "train", "{folder}").metrics_file is None
    for made in (call(tmp_path, "{metrics_file}"), call(tmp_path, "train", env={"M": "{metrics_file}"})):
        assert made.metrics_file == made.folder / "metrics.jsonl"
    logged = call(tmp_path, "train", report_format=ReportFormat(file="logs/{trial_id}.csv"), cwd="deep")
    assert logged.metrics_file == tmp_path / "sweeps/deep/logs" / f"{logged.folder.name}.csv"


@pytest.mark.parametrize(("cwd", "found"), [("", "sweeps"), ("a/{lr}", "sweeps/a/0.125"), ("{folder}", None)])
def test_a_script_runs_in_the_folder_of_its_sweep_or_below_it_or_elsewhere(
    tmp_path: Path, cwd: str, found: str | None
) -> None:
    made = call(tmp_path, "train", cwd=cwd)
    assert made.cwd == (made.folder if found is None else tmp_path / found)


def test_checkpoints_outlive_the_pack_at_an_absolute_path_or_a_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = call(tmp_path, "train", checkpoints="kept/")
    assert kept.checkpoint_folder == f"{tmp_path}/kept/{kept.folder.name}"
    remote = call(tmp_path, "train", checkpoints="s3://bucket/kept")
    assert remote.checkpoint_folder == f"s3://bucket/kept/{remote.folder.name}"


def test_a_format_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format code"):
        call(tmp_path, "{trial_id:.3e}")
