"""The laws of a family, each as one statement: L(N) at each D, L(D) at each N, and the surface L(N, D)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.fitting.fit import Fit, fit
from sweeplaw.analysis.fitting.objectives import Objective
from sweeplaw.analysis.tables.families import Axes, Family
from sweeplaw.trials.errors import InputError

OBJECTIVE = Objective("huber", 1e-3, "log", "mean")  # Hoffmann et al. 2022, arXiv:2203.15556, eq. 3
RESAMPLES = 1000
LEAST_POINTS = 4  # of a power law with an asymptote: three parameters and one degree of freedom


@dataclass(frozen=True, slots=True)
class FittedSlice:
    """One law over some rows, or the sentence why there is none.

    ``x`` names the column on the law's axis, ``at`` what is held fixed.
    """

    title: str
    x: tuple[str, ...]
    at: dict[str, Any]
    fit: Fit | None
    why_not: str = ""


def count(family: Family, by: Axes) -> int:
    """How many statements `statements` makes."""
    return 1 + family.best[by.n].n_unique() + family.best[by.d].n_unique()


def statements(family: Family, by: Axes) -> Iterator[FittedSlice]:
    """The additive surface over the best settings, then the law with an asymptote in N at each D and in D at each N.

    The surface has Chinchilla's form (Hoffmann et al. 2022, eq. 2). Each takes about a second.
    """
    x = {"N": by.n, "D": by.d}
    yield _statement("L(N, D) = E + A/N^alpha + B/D^beta", "additive", x, {}, family.seeds, by)
    yield from _slices(family, by, by.n, by.d, "N", "D")
    yield from _slices(family, by, by.d, by.n, "D", "N")


def _slices(family: Family, by: Axes, along: str, held: str, name: str, other: str) -> Iterator[FittedSlice]:
    for value in sorted(family.best[held].unique().to_list()):
        rows = family.seeds.filter(pl.col(held) == value)
        title = f"L({name}) = C + A/{name}^alpha at {other} = {value:,}"
        if rows[along].n_unique() < LEAST_POINTS:
            why = f"{rows[along].n_unique()} distinct {name}; a law with an asymptote needs {LEAST_POINTS}"
            yield FittedSlice(title, (along,), {held: value}, None, why)
        else:
            yield _statement(title, "power_asymptote", {"x": along}, {held: value}, rows, by)


def _statement(
    title: str, law: str, x: dict[str, str], at: dict[str, Any], rows: pl.DataFrame, by: Axes
) -> FittedSlice:
    try:
        made = fit(rows, law, OBJECTIVE, x=x, y=by.loss, bootstrap=RESAMPLES)
    except InputError as error:
        return FittedSlice(title, tuple(x.values()), at, None, str(error))
    _ = made.profiles  # most of the time a statement takes; kept with the fit
    return FittedSlice(title, tuple(x.values()), at, made)
