"""Checkpoints of trials: written atomically, verified when read and removed with the trial's final outcome.

One file per trial, `<folder>/<trial_id>.safetensors`, so that a relaunch finds each even if its packs differ. The
format holds numbers and text, nothing executable. Its metadata identifies the run and has a checksum of every tensor.
On a file system the file is written under a temporary name and renamed, on an object store it is one upload, so a
reader sees the old checkpoint or the new one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeplaw.trials.store_format import confined, tensor_files
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.tensor_files import SUFFIX

if TYPE_CHECKING:
    from torch import Tensor

CURVE = ".sweeplaw-curve.jsonl"  # in a trial's own folder, by us: what it has reported, which is no checkpoint
ENDED = ("completed", "diverged", "stopped")  # after any other outcome a later attempt may resume
FORMAT = "sweeplaw checkpoint 1"  # incremented when older checkpoints can no longer be resumed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """Contents of a checkpoint: tensors on the CPU, and a note that can be written as JSON."""

    tensors: Mapping[str, Tensor]
    note: Mapping[str, Any]


def save(folder: str, trial_id: str, identity: str, saved: Saved) -> None:
    """Replace the trial's checkpoint in ``folder``, a path or URI. ``identity`` is everything that determines the run.

    Raise OSError; the previous checkpoint is then unchanged.
    """
    location, name = tensor_files.place(folder, f"{trial_id}{SUFFIX}")
    metadata = {
        "format": FORMAT,
        "identity": identity,
        "note": json.dumps(dict(saved.note)),
        "checksums": json.dumps({name: tensor_files.checksum(tensor) for name, tensor in saved.tensors.items()}),
    }
    tensor_files.write(location, name, saved.tensors, metadata)


def load(folder: str, trial_id: str, identity: str) -> Saved | None:
    """Return the trial's checkpoint in ``folder``, or None if there is none to resume from.

    A checkpoint that is damaged, a link, of another run or of another format is logged and ignored. Raise InputError if
    ``folder`` is a URI that cannot be reached.
    """
    location, name = tensor_files.place(folder, f"{trial_id}{SUFFIX}")
    try:
        if location.is_free(name):
            return None
        with tensor_files.at_path(location, name) as path:
            return _open(path, identity)
    except (OSError, ValueError) as error:
        _log.warning("checkpoint of trial %s: %s; it starts anew", trial_id, str(error).splitlines()[0])
        return None


def make_own_folder(folder: str) -> None:
    """Make the folder where the code of a trial keeps its own checkpoints; a URI needs none.

    Raise OSError if it, or the folder it lies in, is a link or no folder.
    """
    if "://" not in folder:
        location, name = tensor_files.place(*os.path.split(os.path.abspath(folder)))
        confined.make_folder(location.root, name)


def written_at(folder: str, trial_id: str) -> dt.datetime | None:
    """Return when the trial last wrote a checkpoint in ``folder``, ours or its script's own, or None if there is none.

    The time is that of the file system's clock. Raise OSError.
    """
    location, name = tensor_files.place(folder, trial_id)
    written = _local_times(location, name) if location.local else _remote_times(location, name)
    return max(written, default=None)


def remove(folder: str, trial_id: str) -> None:
    """Remove the trial's checkpoint in ``folder``, and the folder of its script's own. Failures are logged."""
    location, name = tensor_files.place(folder, trial_id)
    try:
        if location.local:
            _remove_local(location, name)
            return
        if location.exists(f"{name}{SUFFIX}"):
            location.filesystem.delete_file(location.path(f"{name}{SUFFIX}"))
        if _is_folder(location, name):
            location.filesystem.delete_dir(location.path(name))
    except OSError as error:
        _log.warning("checkpoint of trial %s cannot be removed: %s", trial_id, error)


def _local_times(location: Location, name: str) -> list[dt.datetime]:
    times: list[float] = []
    with contextlib.suppress(FileNotFoundError):
        times = [confined.status(location.root, f"{name}{SUFFIX}").st_mtime]
    with contextlib.suppress(FileNotFoundError):  # there is no such folder
        for _, _, files, descriptor in os.fwalk(location.writable(name)):  # follows no links
            with contextlib.suppress(FileNotFoundError):  # the script removes earlier checkpoints
                times += [
                    os.stat(file, dir_fd=descriptor, follow_symlinks=False).st_mtime for file in files if file != CURVE
                ]
    return [dt.datetime.fromtimestamp(time, dt.UTC) for time in times]


def _remote_times(location: Location, name: str) -> list[dt.datetime]:
    from pyarrow import fs

    own = fs.FileSelector(location.path(name), allow_not_found=True, recursive=True)
    ours = location.filesystem.get_file_info(location.path(f"{name}{SUFFIX}"))
    files = [ours, *location.filesystem.get_file_info(own)]
    return [info.mtime for info in files if info.type == fs.FileType.File and info.mtime]


def _remove_local(location: Location, name: str) -> None:
    """Remove the checkpoint, those of writers that died before their rename, and the script's own folder."""
    folder, _, trial_id = name.rpartition("/")
    unfinished = re.compile(rf"\.{re.escape(trial_id + SUFFIX)}\..*")
    for found in (trial_id, f"{trial_id}{SUFFIX}", *confined.files(location.root, folder, unfinished)):
        with contextlib.suppress(FileNotFoundError):
            confined.remove_tree(location.root, f"{folder}/{found}")


def _open(path: str, identity: str) -> Saved:
    """Raise ValueError if the file is damaged or of another run, OSError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
            if metadata.get("identity") != identity:
                raise ValueError("it belongs to another run: spec, data, device or code differ")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            note, checksums = json.loads(metadata["note"]), dict(json.loads(metadata["checksums"]))
    except (SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is damaged: {error}") from error
    damaged = [name for name in {**checksums, **tensors} if _differs(tensors.get(name), checksums.get(name))]
    if damaged:
        raise ValueError(f"it is damaged in {', '.join(damaged)}")
    return Saved(tensors, note)


def _differs(tensor: Tensor | None, checksum: int | None) -> bool:
    return tensor is None or tensor_files.checksum(tensor) != checksum


def _is_folder(location: Location, name: str) -> bool:
    from pyarrow import fs as pafs

    return bool(location.filesystem.get_file_info(location.path(name)).type == pafs.FileType.Directory)
