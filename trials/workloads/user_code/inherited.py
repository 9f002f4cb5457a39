"""The checkpoints that a member of a population inherits: those of the trial that it was before its knobs changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from sweeplaw.trials.changes import parse, write
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context

KNOB = "changes"


def inherit(spec: TrialSpec, context: Context) -> None:
    """Copy into the trial's own folder the checkpoints of the trial without its last change, unless it has its own.

    Nothing is copied without such a trial, or without a folder that outlives the pack. Raise OSError, and ValueError
    for a text of changes that is none.
    """
    changes = parse(str(spec.knobs.get(KNOB, "")))
    if not changes or context.checkpoints is None:
        return
    before = TrialSpec(spec.workload, {**spec.knobs, KNOB: write(changes[:-1])}, spec.later)
    source, target = context.own_folder(before.trial_id), context.own_folder(spec.trial_id)
    if "://" in target:
        _copy_remote(source, target)
    elif Path(source).is_dir() and not Path(target).exists():
        _copy_local(Path(source), Path(target))


def _copy_local(source: Path, target: Path) -> None:
    """Copy a folder so that it is there as a whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".inherited-", dir=target.parent) as scratch:
        made = Path(scratch, target.name)
        shutil.copytree(source, made, symlinks=True)
        os.rename(made, target)


def _copy_remote(source: str, target: str) -> None:
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(target)
    if not filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        filesystem, path = fs.FileSystem.from_uri(source)
        if filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
            fs.copy_files(source, target)
