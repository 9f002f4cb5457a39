"""Data budgets: runs that differ in D by less than their last batch were given the same data, so they are one point."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

TOKENS = "tokens"
_PARTS = ("unique_tokens", "epochs", "batch_tokens")


def planned_tokens(columns: Collection[str]) -> pl.Expr:
    """Return the tokens that each run was to train on, ``unique_tokens`` times ``epochs``.

    A run drops its last partial batch, so its `tokens` are at most one batch below. Where they are not, or a column is
    missing, they are `tokens` itself.
    """
    tokens = pl.col(TOKENS)
    if not set(_PARTS) <= set(columns):
        return tokens
    unique, epochs, batch = (pl.col(name) for name in _PARTS)
    planned = (unique * epochs).round()
    dropped = (planned - tokens).is_between(0, batch, closed="left").fill_null(False)
    return pl.when(dropped).then(planned).otherwise(tokens).alias(TOKENS)


def with_planned_tokens(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return ``frame`` with its `tokens` as planned, and the number of runs in which they differ."""
    numeric = {TOKENS, *_PARTS} <= set(frame.columns) and all(
        frame[name].dtype.is_numeric() for name in (TOKENS, *_PARTS)
    )
    if not numeric:
        return frame, 0
    planned = frame.with_columns(planned_tokens(frame.columns).cast(frame[TOKENS].dtype))
    return planned, int((planned[TOKENS] != frame[TOKENS]).sum())


def budget_note(changed: int) -> list[str]:
    """Return a sentence on runs whose D is not what they trained on; none if there are no such runs."""
    if not changed:
        return []
    runs = "1 run" if changed == 1 else f"{changed} runs"
    return [f"D is unique_tokens times epochs, of which {runs} dropped the last partial batch"]
