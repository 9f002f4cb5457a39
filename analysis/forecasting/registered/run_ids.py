"""An id for each run that a forecast was made from, by which it is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl


def run_ids(frame: pl.DataFrame, texts: Sequence[str]) -> list[str]:
    """Return an id for each run: that of its trial, or for runs without one a hash of its inputs and loss."""
    known = frame["trial_id"].to_list() if "trial_id" in frame.columns else [None] * frame.height
    hashes = (hashlib.sha256(text.encode()).hexdigest()[:20] for text in texts)
    return [one if isinstance(one, str) else made for one, made in zip(known, hashes, strict=True)]


def value_text(inputs: Sequence[float], loss: float) -> str:
    """Return the inputs and the loss of a run as text, exactly."""
    return " ".join(float(value).hex() for value in (*inputs, loss))
