"""The command of a user's script for one trial: its arguments and environment with all placeholders filled in."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.user_code import template
from sweeplaw.trials.workloads.user_code.report_format import PLAIN, ReportFormat

PLACEHOLDERS = {
    "python": "the Python that runs the trial",
    "spec_file": "JSON file with trial_id and knobs",
    "metrics_file": "file to append JSON lines to, instead of printing them",
    "folder": "folder of the trial alone",
    "checkpoint_folder": "folder that is there for the next attempt too, a path or URI (SWEEPLAW_CHECKPOINT_FOLDER)",
    "sweep_folder": "folder of the sweep file",
    "trial_id": "identity of the trial",
    "threads": "CPU threads the trial may use",
    "device": "cpu or cuda",
    "shrink": "1, or the number of parts to cut each batch into, so that the trial needs less memory",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A script's command with all placeholders filled in; ``env`` is its environment, including what it inherits.

    ``metrics_file`` is None if reports are printed. ``report_format`` is how they are read; after one of
    ``retry_exit_codes`` the trial is preempted.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    folder: Path
    spec_file: Path
    metrics_file: Path | None
    checkpoint_folder: str
    report_format: ReportFormat = PLAIN
    retry_exit_codes: frozenset[int] = frozenset()

    @classmethod
    def from_spec(
        cls, spec: TrialSpec, context: Context, *, cwd: str, sweep_folder: Path, report_format: ReportFormat = PLAIN
    ) -> Call:
        """Fill in the templates of the knob ``command`` of ``spec``. Raise ValueError if a format does not fit."""
        templates = json.loads(spec["command"])
        argv, env = templates["argv"], templates["env"]
        folder = context.folder.resolve() / spec.trial_id
        checkpoint_folder = context.own_folder(spec.trial_id)
        if "://" not in checkpoint_folder:
            checkpoint_folder = os.path.abspath(checkpoint_folder)
        values = {
            **spec.knobs,
            "python": sys.executable,
            "spec_file": str(folder / "spec.json"),
            "metrics_file": str(folder / "metrics.jsonl"),
            "folder": str(folder),
            "checkpoint_folder": checkpoint_folder,
            "sweep_folder": str(sweep_folder),
            "trial_id": spec.trial_id,
            "threads": context.threads,
            "device": context.device,
            "shrink": context.micro_batch_divisor,
        }
        used = set[str]().union(*(template.placeholders(text) for text in (*argv, *env.values())))
        reports = folder / "metrics.jsonl" if "metrics_file" in used else None
        own_cwd = sweep_folder / template.fill(cwd, values)
        if report_format.file is not None:
            reports = own_cwd / template.fill(report_format.file, values)
        return cls(
            argv=[template.fill(text, values) for text in argv],
            env={
                **os.environ,
                "SWEEPLAW_SPEC_FILE": str(folder / "spec.json"),
                "SWEEPLAW_CHECKPOINT_FOLDER": checkpoint_folder,
                "OMP_NUM_THREADS": str(context.threads),
                "PYTHONUNBUFFERED": "1",  # otherwise its lines arrive in blocks, hours late
                **{name: template.fill(text, values) for name, text in env.items()},
            },
            cwd=own_cwd,
            folder=folder,
            spec_file=folder / "spec.json",
            metrics_file=reports,
            checkpoint_folder=checkpoint_folder,
            report_format=report_format,
        )
