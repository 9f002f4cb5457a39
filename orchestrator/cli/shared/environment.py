"""What of the environment upsets a library of ours: it would fail without a word about it, or say too many."""

from __future__ import annotations

import logging
import os

from sweeplaw.trials.errors import InputError, shown

MOST_THREADS = 4096  # beyond it Polars ends the process or hangs, since the system has no more threads


def check() -> None:
    """Raise InputError for a number of threads that Polars cannot start. Polars ignores non-numeric values."""
    text = os.environ.get("POLARS_MAX_THREADS", "")
    if text.isascii() and text.isdecimal() and not 1 <= int(text[:20]) <= MOST_THREADS:
        accepted = f"accepted: 1 to {MOST_THREADS:,}; unset, it is the number of cores"
        raise InputError(f"POLARS_MAX_THREADS = {shown(text)} in the environment ({accepted})")


def quiet() -> None:
    """Let Matplotlib not say that it keeps its cache elsewhere, where no home can be written: pictures are the same."""
    logging.getLogger("matplotlib").addFilter(lambda record: record.levelno > logging.WARNING)
