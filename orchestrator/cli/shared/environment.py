"""What of the environment upsets a library of ours: it would fail without a word about it, or say too many."""

from __future__ import annotations

import logging
import os
import resource

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.quantities import disk_size

MOST_THREADS = 4096  # beyond it Polars ends the process or hangs, since the system has no more threads
LEAST_ADDRESS_SPACE = 3 * 10**9  # bytes; Polars reserves far more than it uses, and below this it aborts the process


def check() -> None:
    """Raise InputError for a number of threads or an address space with which Polars cannot start.

    Polars ignores numbers of threads that are no numbers.
    """
    faults = []
    text = os.environ.get("POLARS_MAX_THREADS", "")
    if text.isascii() and text.isdecimal() and not 1 <= int(text[:20]) <= MOST_THREADS:
        accepted = f"accepted: 1 to {MOST_THREADS:,}; unset, it is the number of cores"
        faults.append(f"POLARS_MAX_THREADS = {shown(text)} in the environment ({accepted})")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE:
        accepted = f"accepted: {disk_size(LEAST_ADDRESS_SPACE)} or more; memory itself is limited by `ulimit -d`"
        faults.append(f"this process may use {disk_size(limit)} of address space, by `ulimit -v` ({accepted})")
    if faults:
        raise InputError(faults)


def quiet() -> None:
    """Let Matplotlib not say that it keeps its cache elsewhere, where no home can be written: pictures are the same.

    What it says of a style file stays.
    """
    logging.getLogger("matplotlib").addFilter(_not_of_its_folders)


def _not_of_its_folders(record: logging.LogRecord) -> bool:
    return record.funcName != "_get_config_or_cache_dir"
