"""The difference between two recipes: over equal runs, by size, with what would settle it and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from sweeplaw.analysis.recipes.pairs import Pairs, level_frames, match, same_unit
from sweeplaw.analysis.recipes.power import POWER, detectable, half_width, holm, p_text, p_value, runs_needed
from sweeplaw.analysis.recipes.speedup import SpeedUp, speed_up
from sweeplaw.analysis.tables.arguments import check_names
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.runs import computable, range_notes
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.analysis.tables.sql.expressions import check_columns, condition
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, percent, plain, short

LEAST_POINTS = 3  # whose spread says how much a difference varies from point to point
LEAST_DOF = 2  # of the noise of one size, before that of all sizes is taken


@dataclass(frozen=True, slots=True)
class Effect:
    """The mean difference (second minus first) over some points, in the unit of the loss.

    ``size``: N of the points, None for all of them, or where it is unknown.
    ``low``, ``high``, ``p`` and ``corrected`` (for the number of comparisons, by Holm) are None if the noise is
    unknown. ``noise``: standard deviation of one run over seeds. ``detectable``: the smallest difference that as many
    runs would show with a chance of 80 %. ``more``: further pairs of runs that would show the difference found with
    that chance, 0 if there are enough, None if unknown or out of reach; ``seconds`` and ``flops`` are their cost.
    """

    name: str
    points: int
    pairs: int
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    corrected: float | None = None
    noise: float | None = None
    detectable: float | None = None
    more: int | None = None
    seconds: float | None = None
    flops: float | None = None
    size: float | None = None

    def shown(self, level: float) -> bool:
        """Return whether there is a difference beyond noise."""
        return self.corrected is not None and self.corrected < 1 - level

    def verdict(self, level: float) -> str:
        """Return what this difference shows, for a person."""
        if self.corrected is None:
            return "indistinguishable from noise: no seeds repeat, and the points are too few"
        if self.shown(level):
            return f"the {'second' if self.difference < 0 else 'first'} is better"
        found = "" if not self.detectable else f"; a difference of {self.detectable:.2g} would have shown"
        return f"no difference shown{found}"

    def price(self) -> str:
        """Return how many more runs would settle the difference found, and what they cost."""
        if self.more is None:
            return "out of reach" if self.p is not None else "unknown"
        if self.more == 0:
            return "enough"
        hours = f", {self.seconds / 3600:.3g} device-hours" if self.seconds else ""
        flops = f", {self.flops:.2g} FLOPs" if self.flops else ""
        return f"{counted(self.more, 'more pair')}{hours}{flops}"


@dataclass(frozen=True, slots=True, repr=False)
class RecipeComparison(Shown):
    """Two recipes over equal runs: ``overall`` and by size, the difference in compute, and notes.

    ``first`` and ``second`` are their names, ``differing`` the knobs in which they differ with the values of both,
    ``paired`` whether runs of one seed were subtracted from each other. ``same``: all pairs have the same loss and no
    knob differs, as in a source and itself: there is nothing to test, so no effect has a noise and none is by size.
    """

    first: str
    second: str
    differing: Mapping[str, tuple[str, str]]
    paired: bool
    level: float
    overall: Effect
    by_size: tuple[Effect, ...]
    speed_up: SpeedUp
    notes: tuple[str, ...]
    same: bool = False

    def headline(self) -> tuple[str, ...]:
        """Return the recipes, the difference with its verdict, and its worth in compute; or that they are the same."""
        if self.same:
            return (self._sameness(),)
        knobs = "; ".join(f"{name} {one} and {other}" for name, (one, other) in self.differing.items())
        how = "paired by seed" if self.paired else "means over seeds"
        ends = "" if self.overall.low is None else f" [{self.overall.low:+.4g}, {self.overall.high:+.4g}]"
        return (
            f"first: {self.first}; second: {self.second}; they differ in {knobs or 'no knob'}",
            f"second minus first: {self.overall.difference:+.4g}{ends} over {counted(self.overall.points, 'point')} "
            f"({how}): {self.overall.verdict(self.level)}",
            self.speed_up.sentence(self.level, self.overall.shown(self.level)),
        )

    def _sameness(self) -> str:
        if self.first == self.second:
            inside = "--by KNOB, or by=KNOB, compares recipes inside it"
            return f"both are the same source, {self.first}, so there is nothing to compare ({inside})"
        count = counted(self.overall.pairs, "run")
        return (
            f"{self.first} and {self.second} have the same losses in all {count} that they share, and no knob differs"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values for JSON."""
        from dataclasses import asdict

        return dict(finite(asdict(self)))

    def card(self) -> Card:
        """Return the headline over a table of the sizes; alone where both are the same."""
        if self.same:
            return Card(self.headline(), notes=self.notes)
        interval, settle = f"{percent(self.level)} interval", f"to settle it ({percent(POWER)})"
        heads = ("", "pairs", "difference", interval, "p, corrected", "noise of a run", "verdict", settle)
        body = tuple(_row(effect, self.level) for effect in (self.overall, *self.by_size))
        return Card(self.headline(), heads, body, self.notes)


def compare_recipes(
    a: Any, b: Any = None, *, by: str | None = None, y: str = "val_loss", on: Sequence[str] | None = None,
    also: Sequence[str] = (), where: str | None = None, level: float = 0.95,
) -> list[RecipeComparison]:  # fmt: skip
    """Compare two recipes over runs that are equal in every other knob.

    ``a`` and ``b`` are sources of runs (see `fit`); or ``a`` alone with ``by``, the knob whose values are the recipes:
    its most frequent value is the first recipe of each comparison. ``on`` are the columns that must be equal (by
    default every other knob but the seed), ``also`` further knobs in which the recipes may differ. ``y`` is the loss:
    lower is better. Runs of one seed are subtracted from each other where both recipes have it. P values are corrected
    for the number of comparisons (Holm 1979). Raise InputError.
    """
    _check(b, by, level)
    check_names(on=on, also=also)
    if by is None:
        one, other = _losses(a, y, where), _losses(b, y, where)
        same_unit(one[1], other[1], y)
        recipes = [(_name(a, "first"), one[0]), (_name(b, "second"), other[0])]
        notes, compared = (*one[2], *other[2]), tuple(also)
    else:
        frame, _, notes = _losses(a, y, where)
        recipes = [(f"{by} = {plain(value)}", part) for value, part in level_frames(frame, by).items()]
        compared = (by, *also)
    (first, base), *others = recipes
    found = [_comparison(first, second, match(base, frame, y, compared, on), level, notes) for second, frame in others]
    return _corrected(found)


def _check(b: Any, by: str | None, level: float) -> None:
    faults = [] if (b is None) != (by is None) else ["give a second source, or the knob whose values are the recipes"]
    faults += [] if 0.5 <= level < 1 else [f"level = {level:g} (accepted: 0.5 to 0.999)"]
    if faults:
        raise InputError(faults)


def _name(source: Any, default: str) -> str:
    return str(source) if isinstance(source, str) else str(getattr(source, "source", "") or default)


def _losses(source: Any, y: str, where: str | None) -> tuple[pl.DataFrame, Any, tuple[str, ...]]:
    """Return the runs with a finite loss, what else is known of the source, and notes on the runs left out."""
    read = rows(source)
    frame = read.frame if where is None else read.frame.filter(condition(where, read.frame.schema))
    check_columns(frame, [y], numbers=[y])
    beyond = range_notes(frame, y)
    without = frame.filter(~pl.col(y).cast(pl.Float64).is_finite() | pl.col(y).is_null()).height
    frame = computable(frame, y)
    measured = frame.filter(pl.col(y).cast(pl.Float64).is_finite())
    if measured.is_empty():
        raise InputError(f"no run of {_name(source, 'the table')} has a finite {y}", hints=beyond)
    notes = (f"{counted(without, 'run')} of {_name(source, 'the table')} without a finite {y} left out",)
    return measured, read, (*read.notes, *(notes if without else ()), *beyond)


def _comparison(first: str, second: str, pairs: Pairs, level: float, notes: tuple[str, ...]) -> RecipeComparison:
    points = pairs.points
    all_notes = tuple(dict.fromkeys((*notes, *pairs.notes)))
    if _same(pairs):
        overall = Effect("all", points.height, int(points["n"].sum()), 0.0)
        worth = SpeedUp(None, None, None, 0, "", "both have the same losses")
        return RecipeComparison(first, second, {}, pairs.paired, level, overall, (), worth, all_notes, same=True)
    known = points["size"].null_count() == 0 and points["size"].n_unique() > 1
    groups = [part for _, part in sorted(points.group_by("size"), key=lambda item: item[0])] if known else []
    sizes = tuple(
        replace(
            _effect(f"N = {short(part['size'][0])}", part, points, pairs.paired, level), size=float(part["size"][0])
        )
        for part in groups
    )
    overall = _effect("all", points, points, pairs.paired, level, across=True)
    return RecipeComparison(first, second, pairs.differing, pairs.paired, level, overall, sizes,
                            speed_up(points, level), all_notes)  # fmt: skip


def _same(pairs: Pairs) -> bool:
    """Return whether no knob differs and each run has the loss of its partner; without seeds, each mean."""
    equal = (pairs.points["difference"] == 0).all()
    return bool(not pairs.differing and equal and (not pairs.paired or pairs.points["squares"].sum() == 0))


def _effect(
    name: str, part: pl.DataFrame, everything: pl.DataFrame, paired: bool, level: float, *, across: bool = False
) -> Effect:
    """Return the mean difference of some points.

    ``across`` takes its error from how the difference varies from point to point, if there are enough; otherwise it
    comes from the noise of seeds at these points, or, if these have hardly any repeats, at all.
    """
    difference, pairs = _mean(part["difference"]), int(part["n"].sum())
    found = Effect(name, part.height, pairs, difference, noise=_noise(part) or _noise(everything))
    deviation = _deviation(part, paired) or _deviation(everything, paired)
    spread = part["difference"].std() if part.height >= LEAST_POINTS else None
    if spread is not None and (across or deviation is None):
        error, dof = float(spread) / math.sqrt(part.height), part.height - 1.0  # type: ignore[arg-type]
    elif deviation is not None:
        error, dof = deviation[0] * math.sqrt((1 / part["n"]).sum()) / part.height, deviation[1]
    else:
        return found
    half = half_width(error, dof, level)
    found = replace(found, low=difference - half, high=difference + half, p=p_value(difference, error, dof))
    scatter = error * math.sqrt(pairs)
    return _with_price(found, part, scatter, level)


def _with_price(effect: Effect, part: pl.DataFrame, scatter: float, level: float) -> Effect:
    """Return the effect with the smallest difference its runs would show, and what would settle the one found."""
    needed = runs_needed(effect.difference, scatter, level)
    more = None if needed is None else max(0, needed - effect.pairs)
    cost = {name: None if not more else _scaled(part[name].mean(), 2 * more) for name in ("train_seconds", "flops")}
    smallest = detectable(scatter, effect.pairs, level)
    return replace(effect, detectable=smallest, more=more, seconds=cost["train_seconds"], flops=cost["flops"])


def _scaled(value: Any, factor: float) -> float | None:
    return None if value is None else float(value) * factor


def _mean(column: pl.Series) -> float:
    return float(column.mean())  # type: ignore[arg-type]


def _noise(points: pl.DataFrame) -> float | None:
    """Return the standard deviation of one run over seeds, pooled over points and recipes; None without repeats."""
    dof = _total(points, "dof_a", "dof_b")
    return math.sqrt(_total(points, "squares_a", "squares_b") / dof) if dof else None


def _total(points: pl.DataFrame, *names: str) -> float:
    return float(points.select(pl.sum_horizontal(pl.col(names).sum())).item())


def _deviation(points: pl.DataFrame, paired: bool) -> tuple[float, float] | None:
    """Return the standard deviation of the difference of one pair of runs, and its degrees of freedom."""
    if paired:
        dof = _total(points, "n") - points.height
        return (math.sqrt(_total(points, "squares") / dof), dof) if dof >= LEAST_DOF else None
    freedom = [_total(points, name) for name in ("dof_a", "dof_b")]
    if min(freedom) < 1 or sum(freedom) < LEAST_DOF:
        return None
    variances = [_total(points, name) / dof for name, dof in zip(("squares_a", "squares_b"), freedom, strict=True)]
    total = sum(variances)
    shares = sum(variance**2 / dof for variance, dof in zip(variances, freedom, strict=True))
    return math.sqrt(total), total**2 / shares if shares else sum(freedom)


def _corrected(found: list[RecipeComparison]) -> list[RecipeComparison]:
    """Return the comparisons with p values corrected: the overall ones for their number, those by size for theirs."""
    overall = holm([one.overall.p for one in found])
    sizes = holm([effect.p for one in found for effect in one.by_size])
    rest = iter(sizes)
    return [
        replace(
            one, overall=replace(one.overall, corrected=whole),
            by_size=tuple(replace(effect, corrected=next(rest)) for effect in one.by_size),
        )
        for one, whole in zip(found, overall, strict=True)
    ]  # fmt: skip


def _row(effect: Effect, level: float) -> tuple[str, ...]:
    ends = "–" if effect.low is None else f"[{effect.low:+.4g}, {effect.high:+.4g}]"
    p = p_text(effect.corrected)
    noise = "–" if effect.noise is None else f"{effect.noise:.2g}"
    return (effect.name, str(effect.pairs), f"{effect.difference:+.4g}", ends, p, noise, effect.verdict(level),
            effect.price())  # fmt: skip
