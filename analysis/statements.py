"""The laws of a family, each as one statement: L(N) at each D, L(D) at each N, and the surface L(N, D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.families import Axes, Family
from analysis.fitting import Fit, fit
from analysis.objectives import Objective
from trials.errors import InputError

OBJECTIVE = Objective("huber", 1e-3, "log", "mean")  # Hoffmann et al. 2022, arXiv:2203.15556, eq. 3
RESAMPLES = 1000
LEAST_POINTS = 4  # of a power law with an asymptote: three parameters and one degree of freedom


@dataclass(frozen=True, slots=True)
class Statement:
    """One law over some rows, or the sentence why there is none.

    ``x`` names the column on the law's axis, ``at`` what is held fixed.
    """

    title: str
    x: tuple[str, ...]
    at: dict[str, Any]
    fit: Fit | None
    why_not: str = ""


def surface(family: Family, by: Axes) -> Statement:
    """The additive surface over the best settings. Chinchilla's form (Hoffmann et al. 2022, eq. 2)."""
    x = {"N": by.n, "D": by.d}
    return _statement("L(N, D) = E + A/N^alpha + B/D^beta", "additive", x, {}, family.seeds, by)


def slices(family: Family, by: Axes) -> list[Statement]:
    """The law with an asymptote in N at each D, and in D at each N."""
    return [*_slices(family, by, by.n, by.d, "N", "D"), *_slices(family, by, by.d, by.n, "D", "N")]


def _slices(family: Family, by: Axes, along: str, held: str, name: str, other: str) -> list[Statement]:
    found = []
    for value in sorted(family.best[held].unique().to_list()):
        rows = family.seeds.filter(pl.col(held) == value)
        title = f"L({name}) = C + A/{name}^alpha at {other} = {value:,}"
        if rows[along].n_unique() < LEAST_POINTS:
            why = f"{rows[along].n_unique()} distinct {name}; a law with an asymptote needs {LEAST_POINTS}"
            found.append(Statement(title, (along,), {held: value}, None, why))
        else:
            found.append(_statement(title, "power_asymptote", {"x": along}, {held: value}, rows, by))
    return found


def _statement(title: str, law: str, x: dict[str, str], at: dict[str, Any], rows: pl.DataFrame, by: Axes) -> Statement:
    try:
        made = fit(rows, law, OBJECTIVE, x=x, y=by.loss, bootstrap=RESAMPLES)
    except InputError as error:
        return Statement(title, tuple(x.values()), at, None, str(error))
    return Statement(title, tuple(x.values()), at, made)
