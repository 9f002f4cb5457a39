"""A file that a user asks for, written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from sweeplaw.trials.store_format.atomic_file import write_atomically

_PROBE = 2**16  # bytes


def write_file(path: Path, write: Callable[[str], object]) -> None:
    """Replace ``path`` by the file that ``write`` creates at the path it receives.

    Raise OSError naming ``path``, which is then unchanged; its folder must exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    try:
        write_atomically(str(path.absolute()), write, durable=False)
    except (OSError, pl.exceptions.ComputeError) as error:
        if (number := _number(error) or _try_writing(path.parent)) is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _number(error: Exception) -> int | None:
    """Return the number of a system error, which Polars has in its text at most."""
    if number := getattr(error, "errno", None):
        return int(number)
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _try_writing(folder: Path) -> int | None:
    """Return the number of the system error if a folder takes no file, None if it does."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        return error.errno
    return None
