"""Settings picked on one half of the validation set and reported on the other.

The lowest of many losses is biased low: part of why it is the lowest is the noise of the data it was picked on. Its
loss on the other half is free of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.arguments import check_names
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, settings

HALVES = ("val_loss_a", "val_loss_b")


@dataclass(frozen=True, slots=True)
class Pick:
    """The best settings of one place by each half, with losses: ``picked`` on that half, ``reported`` on the other.

    Both are means over the two halves; ``optimism`` is their difference. ``tried`` settings were compared.
    """

    at: Mapping[str, Any]
    first: Mapping[str, Any]
    second: Mapping[str, Any]
    picked: float
    reported: float
    tried: int

    @property
    def optimism(self) -> float:
        """By how much the loss on the half that picked it is too low."""
        return self.reported - self.picked

    @property
    def agree(self) -> bool:
        """Whether both halves pick the same setting."""
        return self.first == self.second


@dataclass(frozen=True, slots=True, repr=False)
class SplitPicks(Shown):
    """The picks of all places, by the columns ``halves``."""

    halves: tuple[str, str]
    picks: tuple[Pick, ...]

    @property
    def optimism(self) -> float:
        """The mean optimism over the places."""
        return sum(one.optimism for one in self.picks) / len(self.picks)

    def headline(self) -> tuple[str, ...]:
        """Return the mean optimism and how often the halves agree."""
        agreeing = sum(one.agree for one in self.picks)
        return (
            f"picked on one half of the validation set, the loss on the other is {self.optimism:+.4g} higher",
            f"both halves pick the same setting at {agreeing} of {counted(len(self.picks), 'place')}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the picks as plain values."""
        picks = [{**asdict(one), "optimism": one.optimism, "agree": one.agree} for one in self.picks]
        return dict(finite({"halves": self.halves, "optimism": self.optimism, "picks": picks}))

    def card(self) -> Card:
        """Return the picks as a table."""
        heads = ("at", "settings", "picked", "reported", "optimism", "by the first half", "by the second")
        body = tuple(
            (settings(one.at), str(one.tried), f"{one.picked:.4f}", f"{one.reported:.4f}", f"{one.optimism:+.4f}",
             settings(one.first), "the same" if one.agree else settings(one.second))
            for one in self.picks
        )  # fmt: skip
        return Card(self.headline(), heads, body)


def split_picks(
    source: Any, at: Sequence[str], knobs: Sequence[str], halves: tuple[str, str] = HALVES
) -> SplitPicks:  # fmt: skip
    """Return the setting of ``knobs`` picked by each of two losses at each combination of the columns ``at``.

    ``source`` is any source of runs; losses are means over seeds. Rows without both losses are left out. Raise
    InputError for missing columns, or if no row has both losses.
    """
    check_names(at=at, knobs=knobs)
    frame = rows(source).frame
    check_columns(frame, [*at, *knobs, *halves], numbers=halves)
    known = frame.filter(pl.col(half).cast(pl.Float64).is_finite() for half in halves)
    if known.is_empty():
        raise InputError(f"no run has a finite {halves[0]} and {halves[1]}")
    means = known.group_by([*at, *knobs]).agg(pl.col(halves).mean()).sort([*at, *knobs], nulls_last=True)
    parts = means.partition_by(list(at), maintain_order=True) if at else [means]
    return SplitPicks(halves, tuple(_pick(part, at, knobs, halves) for part in parts))


def _pick(part: pl.DataFrame, at: Sequence[str], knobs: Sequence[str], halves: tuple[str, str]) -> Pick:
    first, second = (part.row(int(part[half].arg_min() or 0), named=True) for half in halves)
    a, b = halves
    return Pick(
        {name: first[name] for name in at}, {name: first[name] for name in knobs},
        {name: second[name] for name in knobs}, (first[a] + second[b]) / 2, (first[b] + second[a]) / 2, part.height,
    )  # fmt: skip
