"""What is wrong or merely odd about the rows of a fit, said with the rows' numbers.

Nothing is left out silently: a row that cannot take part is named with its reason, and what is merely suspicious
becomes a warning that travels with the fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sweeplaw.analysis.laws.law import Law
from sweeplaw.trials.errors import InputError

Array = np.ndarray

SMALLEST_N = 1000  # a language model with fewer parameters is a table in millions or billions
NAMED = 8  # rows named in a message before "and k more"
LOOKED_AT = 1_000_000  # rows compared with each other; more are not looked at for copies


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows (0-based, as read; at most the first thousand) that could not take part, and how many there are."""

    reason: str
    rows: tuple[int, ...]
    count: int

    def describe(self) -> str:
        """``3 loss (val_loss) missing or NaN, rows 1, 4, 7``."""
        return f"{self.count} {self.reason}" + (f", {name_rows(self.rows, self.count)}" if self.rows else "")


@dataclass(frozen=True, slots=True)
class Observations:
    """Rows ready to be fitted. ``inputs`` are in the law's units: the columns divided by ``units``."""

    inputs: Mapping[str, Array]
    losses: Array
    weights: Array
    rows: Array
    frame: pl.DataFrame
    columns: Mapping[str, str]
    units: Mapping[str, float]
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]

    @property
    def rows_dropped(self) -> int:
        """How many rows took no part."""
        return sum(item.count for item in self.dropped)


def name_rows(rows: Sequence[int], count: int | None = None) -> str:
    """``rows 3, 5, 8 and 12 more``."""
    total = len(rows) if count is None else count
    more = f" and {total - NAMED} more" if total > NAMED else ""
    return f"row{'s' * (total > 1)} {', '.join(str(row) for row in rows[:NAMED])}{more}"


def suspicions(seen: Observations, raw: Mapping[str, Array]) -> tuple[str, ...]:
    """What a person should know about rows that can be fitted all the same. ``raw`` are the columns before units."""
    warnings = [f"left out: {item.describe()}" for item in seen.dropped]
    copies = _copies(seen)
    if copies.size:
        named = name_rows(seen.rows[copies].tolist())
        warnings.append(f"{copies.size} rows repeat an earlier row exactly ({named}); each counts as one more run")
    if knobs := _mixed_knobs(seen):
        warnings.append(
            f"runs at one point differ in {', '.join(knobs)}: the law is of all of them; best=True (--best) takes the "
            "lowest loss of each point"
        )
    for name in ("N", "D", "U"):
        small = seen.rows[raw[name] < SMALLEST_N].tolist() if name in raw else []
        if small:
            where = f"{name} ({seen.columns[name]}) is below {SMALLEST_N} in {name_rows(small)}"
            warnings.append(f"{where}: is it in millions or billions? The parameters are then in that unit")
    return tuple(warnings)


def _mixed_knobs(seen: Observations) -> list[str]:
    """Knobs of our own runs, the seed apart, that take several values at one point of the law."""
    if "spec" not in seen.frame.columns or seen.frame["spec"].null_count() == seen.frame.height:
        return []
    knobs = json.loads(seen.frame["spec"].drop_nulls()[0])["knobs"]
    names = [name for name in knobs if name != "seed" and name in seen.frame.columns]
    points = pl.DataFrame({f"__{name}": column for name, column in seen.inputs.items()})
    counts = pl.concat([seen.frame.select(names), points], how="horizontal").group_by(points.columns)
    return [name for name, most in counts.agg(pl.col(names).n_unique()).max().row(0, named=True).items()
            if name in names and most > 1]  # fmt: skip


def _copies(seen: Observations) -> Array:
    """Positions of rows whose inputs and loss are those of an earlier row."""
    if len(seen.losses) > LOOKED_AT:
        return np.zeros(0, dtype=int)
    frame = pl.DataFrame({**seen.inputs, "__loss": seen.losses})
    return np.flatnonzero(~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy())


def refuse(seen: Observations, law: Law) -> None:
    """Raise InputError where no fit can be: too few points, inputs that do not vary, losses that are all equal."""
    rows, faults = len(seen.losses), []
    points = _distinct_points(seen)
    if points < len(law.names):
        needed = f"the {len(law.names)} parameters {', '.join(law.names)}"
        faults.append(f"{rows} rows with {points} distinct points cannot fix {needed}")
    for name, column in seen.inputs.items():
        if rows and np.all(column == column[0]):
            value = f"{name} ({seen.columns[name]}) is {column[0]:g} in all {rows} rows"
            faults.append(f"{value}: one distinct value cannot tell its term from a constant")
    if rows > 1 and np.all(seen.losses == seen.losses[0]):
        faults.append(f"all {rows} losses are equal ({seen.losses[0]:g}): there is nothing to fit")
    floor = next((param.low for param in law.free if param.name == law.asymptote), 0.0)
    below = seen.rows[seen.losses <= floor]
    if floor > 0 and below.size:
        faults.append(f"losses at or below the bound {law.asymptote} >= {floor:g} in {name_rows(below.tolist())}")
    if faults:
        raise InputError([*faults, *(f"left out: {item.describe()}" for item in seen.dropped)])


def _distinct_points(seen: Observations) -> int:
    first = {name: column[:10000] for name, column in seen.inputs.items()}  # enough to count up to p
    return pl.DataFrame(first).unique().height
