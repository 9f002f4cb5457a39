"""Preparation of a table of runs for hyperparameter laws: aliases, derived columns, completed losses, batch units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.expressions import ALIASES, parse, resolve_columns
from sweeplaw.trials.errors import InputError

TIMESCALE = "tau"  # AdamW timescale in passes over the data, B/(lr wd D) (Wang and Aitchison, arXiv 2405.13698)
TIMESCALE_PARTS = ("batch_tokens", "lr", "weight_decay", "tokens")
SAME_UNIT = 0.05  # steps are rounded, so steps x batch misses the tokens by up to one batch
STRAY = 0.01  # share of rows above which a second unit is no accident


def prepare(
    frame: pl.DataFrame, names: Sequence[str], y: str, derived: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return ``frame`` with ``names`` and ``y`` as columns.

    N, D and C are taken from a store's columns if the table has none of that name; ``derived`` are SQL expressions of
    columns by name; ``tau`` is computed if it is among ``names``. The loss of a row whose `state` is not completed is
    null. Raise InputError naming every missing column.
    """
    for name, expression in (derived or {}).items():
        frame = frame.with_columns(parse(expression, frame.columns).alias(name))
    aliases = {
        name: ALIASES[name] for name in names if name not in frame.columns and ALIASES.get(name) in frame.columns
    }
    frame = frame.with_columns(**{name: pl.col(column) for name, column in aliases.items()})
    if TIMESCALE in names and TIMESCALE not in frame.columns:
        resolve_columns(TIMESCALE_PARTS, frame.columns)
        batch, lr, decay, tokens = (pl.col(name).cast(pl.Float64) for name in TIMESCALE_PARTS)
        frame = frame.with_columns((batch / (lr * decay * tokens)).alias(TIMESCALE))
    resolve_columns([*names, y], frame.columns)
    if "state" in frame.columns:
        frame = frame.with_columns(pl.when(pl.col("state").fill_null("completed") == "completed").then(pl.col(y)))
    if frame.is_empty():
        raise InputError("no completed run: the table has no rows left")
    return frame


def check_batch_unit(frame: pl.DataFrame, batch: str, tokens: str, steps: str) -> str | None:
    """Return a sentence on the unit of ``batch``, inferred from tokens = steps x batch x length; None if unknown.

    Raise InputError if the rows differ in unit, or if the unit contradicts the column's name.
    """
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
