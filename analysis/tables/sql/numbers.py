"""A column, or an expression of columns, as numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.sql.expressions import first_line, not_numeric, parse
from sweeplaw.trials.errors import InputError


def numbers_of(frame: pl.DataFrame, text: str, name: str = "", rows: pl.Series | None = None) -> np.ndarray:
    """Return the column or SQL expression ``text`` of ``frame`` as floats (n,), null as NaN; of booleans, 0 and 1.

    Raise InputError, which begins with ``name`` if it is given, if there is none or it holds something else; ``rows``
    are the numbers of the rows to report, if they are not counted from 1.
    """
    what = f"{name} = " if name else ""
    expression = pl.col(text) if text in frame.columns else parse(text, frame.schema)
    try:
        series = frame.with_columns(expression.alias(text))[text]
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{what}{text!r}: {first_line(error)}") from None
    if series.dtype != pl.Boolean and (fault := not_numeric(series, rows)):
        raise InputError(f"{what}{fault}")
    return np.broadcast_to(series.cast(pl.Float64).to_numpy().astype(float), (frame.height,))


def columns_read(frame: pl.DataFrame, texts: Iterable[str]) -> set[str]:
    """Return the columns of ``frame`` that these columns and expressions read."""
    texts = list(texts)
    expressions = [text for text in texts if text not in frame.columns]
    roots = (parse(text, frame.schema).meta.root_names() for text in expressions)
    return {*texts, *itertools.chain.from_iterable(roots)} - {*expressions}
