"""Runs of one setting as one row: their losses are averaged over repeats (seeds) before anything is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.levels import snap

SEEDS, SEED_STD, LOG_VARIANCE = "__seeds", "__seed_std", "__log_variance"  # that `settings` adds


def settings(
    frame: pl.DataFrame,
    keys: Sequence[str],
    knobs: Sequence[str],
    loss: str,
    others: Sequence[str] = (),
    *,
    rounded: bool = False,
) -> pl.DataFrame:
    """Return a row for each setting of ``knobs`` at each combination of ``keys``, in the order of their first runs.

    Its columns: keys, knobs, the mean ``loss``, SEEDS (the number of runs), SEED_STD (their standard deviation, null
    for one), LOG_VARIANCE (the sum of squared deviations of log loss from its mean), and ``others``, those of the
    first run. ``loss`` is finite and positive. ``rounded``: values of a knob that differ only by rounding are one,
    written as in its first run.
    """
    levels = {f"__level {name}": pl.Series(snap(frame[name].to_numpy().astype(float))) for name in knobs if rounded}
    repeats = frame.with_columns(pl.col(loss).cast(pl.Float64), **levels).group_by(
        [*keys, *(levels or knobs)], maintain_order=True
    )
    return repeats.agg(
        *(pl.col(name).first() for name in (knobs if levels else ())),
        pl.col(loss).mean(),
        pl.len().alias(SEEDS),
        pl.col(loss).std().alias(SEED_STD),
        (pl.col(loss).log().var(ddof=0) * pl.len()).alias(LOG_VARIANCE),
        *(pl.col(name).first() for name in others),
    ).drop(*levels)


def between_seeds(settings: pl.DataFrame) -> tuple[float | None, int]:
    """Return the standard deviation of log loss between runs of one setting, and its degrees of freedom.

    None if no setting has repeats, or all repeats are equal.
    """
    freedom = int(settings[SEEDS].sum()) - settings.height
    total = float(settings[LOG_VARIANCE].sum())
    return (float(np.sqrt(total / freedom)), freedom) if freedom > 0 and total > 0 else (None, 0)
