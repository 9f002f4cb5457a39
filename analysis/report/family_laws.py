"""The laws of a family: the surface L(N, D), L(N) at each D, and L(D) at each N."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.resampling import affordable
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.family import MOST_LINES, Family, drawn_lines
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.errors import InputError

RESAMPLES = 1000
LEAST_POINTS = 4  # for a power law with an asymptote: three parameters and one degree of freedom
MOST_LAWS = 32  # in N, and as many in D: each takes up to a second


@dataclass(frozen=True, slots=True)
class FittedSlice:
    """One law over some rows, or the reason why there is none.

    ``x``: columns of the law's inputs; ``at``: the column held fixed, with its value.
    """

    title: str
    x: tuple[str, ...]
    at: dict[str, Any]
    fit: Fit | None
    why_not: str = ""


def count(family: Family, by: Axes) -> int:
    """Return the number of laws that `fit_laws` yields."""
    return 1 + sum(len(_values(family, held)) for held in (by.n, by.d))


def left_out(family: Family, by: Axes) -> dict[str, int]:
    """Return how many values of N and of D have no line among those of `fit_laws`."""
    return {
        name: family.best[held].n_unique() - len(_values(family, held)) for name, held in (("N", by.n), ("D", by.d))
    }


def _values(family: Family, held: str) -> list[Any]:
    """Return the values at which there is a line: all, or of more than `MOST_LAWS` this many of those with a law."""
    points = family.best.group_by(held).len().sort(held)
    if points.height <= MOST_LAWS:
        return points[held].to_list()
    enough = points.filter(pl.col("len") >= LEAST_POINTS)[held].to_list()
    drawn = [value for value in drawn_lines(family, held) if value in set(enough)]
    return sorted({*drawn, *most_even(enough, MOST_LAWS - MOST_LINES)})


def fit_laws(family: Family, by: Axes) -> Iterator[FittedSlice]:
    """Yield the additive surface over the best settings, then laws with an asymptote in N at each D and in D at each N.

    The surface has Chinchilla's form (Hoffmann et al. 2022, eq. 2). Each law takes about a second; of many N or D some
    have a line, spread evenly (`left_out` counts the others).
    """
    x = {"N": by.n, "D": by.d}
    yield _fit_slice("L(N, D) = E + A/N^alpha + B/D^beta", "additive", x, {}, family.seeds, by)
    yield from _slices(family, by, by.n, by.d, "N", "D")
    yield from _slices(family, by, by.d, by.n, "D", "N")


def _slices(family: Family, by: Axes, along: str, held: str, name: str, other: str) -> Iterator[FittedSlice]:
    for value in _values(family, held):
        rows = family.seeds.filter(pl.col(held) == value)
        title = f"L({name}) = C + A/{name}^alpha at {other} = {value:,}"
        if rows[along].n_unique() < LEAST_POINTS:
            why = f"{rows[along].n_unique()} distinct {name}; a law with an asymptote needs {LEAST_POINTS}"
            yield FittedSlice(title, (along,), {held: value}, None, why)
        else:
            yield _fit_slice(title, "power_asymptote", {"x": along}, {held: value}, rows, by)


def _fit_slice(
    title: str, law: str, x: dict[str, str], at: dict[str, Any], rows: pl.DataFrame, by: Axes
) -> FittedSlice:
    try:
        fitted = fit(rows, law, x=x, y=by.loss, bootstrap=affordable(RESAMPLES, rows.height), all_rows=True)
    except InputError as error:
        return FittedSlice(title, tuple(x.values()), at, None, error.sentence())
    _ = fitted.profiles  # most of the time of a law; cached in the fit
    return FittedSlice(title, tuple(x.values()), at, fitted)
