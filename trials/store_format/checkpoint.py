"""Checkpoints of trials: written atomically, verified when read and removed with the trial's final outcome.

One file per trial, `<folder>/<trial_id>.safetensors`, so that a relaunch finds each even if its packs differ. The
format holds numbers and text, nothing executable. Its metadata identifies the run and has a checksum of every tensor.
On a file system the file is written under a temporary name and renamed, on an object store it is one upload, so a
reader sees the old checkpoint or the new one.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplaw.trials.store_format.atomic_file import write_atomically
from sweeplaw.trials.store_format.layout import Location, locate

if TYPE_CHECKING:
    from torch import Tensor

ENDED = ("completed", "diverged", "stopped")  # after any other outcome a later attempt may resume
SUFFIX = ".safetensors"
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
    from safetensors.torch import save_file

    location = locate(folder)
    metadata = {
        "format": FORMAT,
        "identity": identity,
        "note": json.dumps(dict(saved.note)),
        "checksums": json.dumps({name: _checksum(tensor) for name, tensor in saved.tensors.items()}),
    }
    tensors = {name: tensor.contiguous() for name, tensor in saved.tensors.items()}
    if location.local:
        write_atomically(location.path(f"{trial_id}{SUFFIX}"), lambda path: _write(save_file, tensors, path, metadata))
        return
    with tempfile.TemporaryDirectory(prefix="sweeplaw-checkpoint-") as scratch:
        path = f"{scratch}/{trial_id}{SUFFIX}"
        _write(save_file, tensors, path, metadata)
        _copy(path, location, f"{trial_id}{SUFFIX}")


def load(folder: str, trial_id: str, identity: str) -> Saved | None:
    """Return the trial's checkpoint in ``folder``, or None if there is none to resume from.

    A checkpoint that is damaged, of another run or of another format is logged and ignored. Raise InputError if
    ``folder`` is a URI that cannot be reached.
    """
    location, name = locate(folder), f"{trial_id}{SUFFIX}"
    try:
        if not location.exists(name):
            return None
        if location.local:
            return _open(location.path(name), identity)
        with tempfile.TemporaryDirectory(prefix="sweeplaw-checkpoint-") as scratch:
            _fetch(location, name, f"{scratch}/{name}")
            return _open(f"{scratch}/{name}", identity)
    except (OSError, ValueError) as error:
        _log.warning("checkpoint of trial %s: %s; it starts anew", trial_id, str(error).splitlines()[0])
        return None


def written_at(folder: str, trial_id: str) -> dt.datetime | None:
    """Return when the trial last wrote a checkpoint in ``folder``, ours or its script's own, or None if there is none.

    The time is that of the file system's clock. Raise OSError.
    """
    from pyarrow import fs

    location = locate(folder)
    own = fs.FileSelector(location.path(trial_id), allow_not_found=True, recursive=True)
    ours = location.filesystem.get_file_info(location.path(f"{trial_id}{SUFFIX}"))
    files = [info for info in [ours, *location.filesystem.get_file_info(own)] if info.type == fs.FileType.File]
    return max((info.mtime for info in files), default=None)


def remove(folder: str, trial_id: str) -> None:
    """Remove the trial's checkpoint in ``folder``, and the folder of its script's own. Failures are logged."""
    location = locate(folder)
    try:
        names = [f"{trial_id}{SUFFIX}"] if location.exists(f"{trial_id}{SUFFIX}") else []
        if location.local:
            names += [name for name in _list(location.root) if name.startswith(f".{trial_id}{SUFFIX}.")]
        for name in names:
            location.filesystem.delete_file(location.path(name))
        if _is_folder(location, trial_id):
            location.filesystem.delete_dir(location.path(trial_id))
    except OSError as error:
        _log.warning("checkpoint of trial %s cannot be removed: %s", trial_id, error)


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
            note, checksums = json.loads(metadata["note"]), json.loads(metadata["checksums"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"it is damaged: {error}") from error
    damaged = [name for name in {**checksums, **tensors} if _differs(tensors.get(name), checksums.get(name))]
    if damaged:
        raise ValueError(f"it is damaged in {', '.join(damaged)}")
    return Saved(tensors, note)


def _differs(tensor: Tensor | None, checksum: int | None) -> bool:
    return tensor is None or _checksum(tensor) != checksum


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().numpy().data)


def _write(save_file: Any, tensors: Mapping[str, Tensor], path: str, metadata: Mapping[str, str]) -> None:
    """Raise OSError, whatever the reason the file cannot be written."""
    from safetensors import SafetensorError

    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # raised for a full disk, too
        raise OSError(f"{path} cannot be written: {error}") from error


def _copy(path: str, location: Location, name: str) -> None:
    """Upload in pieces; the object appears only when the stream is closed without an error."""
    with open(path, "rb") as source:
        stream = location.filesystem.open_output_stream(location.path(name))
        while piece := source.read(1 << 24):
            stream.write(piece)
        stream.close()


def _fetch(location: Location, name: str, path: str) -> None:
    with location.filesystem.open_input_stream(location.path(name)) as source, open(path, "wb") as target:
        while piece := source.read(1 << 24):
            target.write(piece)


def _list(folder: str) -> list[str]:
    return os.listdir(folder) if Path(folder).is_dir() else []


def _is_folder(location: Location, name: str) -> bool:
    from pyarrow import fs as pafs

    return bool(location.filesystem.get_file_info(location.path(name)).type == pafs.FileType.Directory)
