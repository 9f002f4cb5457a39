"""The unit of batch sizes in a table of runs: tokens or sequences."""

from __future__ import annotations

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError

SAME_UNIT = 0.05  # steps are rounded, so steps x batch misses the tokens by up to one batch
STRAY = 0.01  # share of rows above which a second unit is no accident


def check_batch_unit(frame: pl.DataFrame, batch: str, tokens: str, steps: str) -> str | None:
    """Return a sentence on the unit of ``batch``, inferred from tokens = steps x batch x length; None if unknown.

    Raise InputError if the rows differ in unit, or if the unit contradicts the column's name.
    """
    check_columns(frame, [], numbers=[tokens, steps, batch])
    counts = frame.select(pl.col([tokens, steps, batch]).cast(pl.Float64)).drop_nulls()
    counts = counts.filter(pl.all_horizontal(pl.all() > 0))
    if counts.is_empty():
        return None
    length = (counts[tokens] / (counts[steps] * counts[batch])).to_numpy()
    in_tokens = np.abs(length - 1) < SAME_UNIT
    in_sequences = length > 1 + SAME_UNIT
    typical = float(np.median(length[in_sequences])) if in_sequences.any() else 1.0
    if in_tokens.mean() > STRAY and in_sequences.mean() > STRAY:
        raise InputError(
            f"{batch} mixes units: in {in_tokens.sum()} rows steps x {batch} = {tokens} (it counts tokens), "
            f"in {in_sequences.sum()} rows {tokens} is {typical:.4g} times that (it counts sequences of so many tokens)"
        )
    named_tokens, named_sequences = "token" in batch.lower(), "seq" in batch.lower()
    sequences = f"{batch} counts sequences of {typical:.4g} tokens"
    if in_sequences.mean() > 1 - STRAY:
        if named_tokens:
            raise InputError(f"{sequences}, not tokens: steps x {batch} x {typical:.4g} = {tokens}")
        return sequences
    if in_tokens.mean() > 1 - STRAY:
        if named_sequences:
            raise InputError(f"{batch} counts tokens, not sequences: {tokens} = steps x {batch}")
        return f"{batch} counts tokens"
    return None
