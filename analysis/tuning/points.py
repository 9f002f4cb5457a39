"""The points that a law is fitted to: at each scientific point the runs of its best setting of the tuned knobs.

Losses are averaged over seeds before the best setting is chosen. The lowest of several noisy means is biased low, so
its runs are moved by one amount: to the minimum of a quadratic in the logs of the knobs where the settings of the point
support one (`analysis.tuning.cell_settings`) that fits them to the noise of a run, else up by the bias of a lowest mean
(`analysis.tuning.selection_bias`). Differences between seeds stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tuning.cell_settings import CellSettings, as_column, best_level, objection, with_fit
from sweeplaw.analysis.tuning.grid_noise import run_noise
from sweeplaw.analysis.tuning.quadratics.quadratic import Quadratic, fit_quadratics
from sweeplaw.analysis.tuning.repeats import SEED_STD, SEEDS, between_seeds, settings
from sweeplaw.analysis.tuning.selection_bias import selection_bias
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, percent

Array = NDArray[np.float64]
_OWN = ("lowest", "used", "how", "settings", "seeds", "seed_std")
How = Literal["fitted", "corrected", "lowest", "only"]

LEAST_SETTINGS = 4  # for a quadratic of one knob with a degree of freedom
LEAST_LEVELS = 3  # of a knob, from which its best value need not be the lowest or highest
LEAST_OWN = 8  # degrees of freedom from which a point's own seeds estimate its noise; else those of all points
MOST_SETTINGS = 2000  # of a point, in its quadratic: those of lowest loss
MISFIT = 2.0  # times the noise of a run: a quadratic whose residuals are larger does not describe its settings


@dataclass(frozen=True, slots=True)
class BestPoints:
    """The best settings of all points, and their runs.

    ``frame`` has a row for each point, ascending: its keys and knobs, ``lowest`` (mean loss over the seeds of its best
    setting), ``used`` (the loss that a law is fitted to), ``how`` the two differ, ``settings`` and ``seeds`` (numbers),
    ``seed_std`` (null for one seed). ``rows`` (n,) are the runs of the best settings, as positions in the frame given,
    ``losses`` (n,) theirs with the correction. ``noise`` is the standard deviation of log loss of a run, from
    ``noise_freedom`` degrees of freedom of ``noise_origin``: seeds, neighbours in a grid, or residuals of quadratics;
    None if unknown. ``at_edge``: by knob, the number of points without a fitted optimum whose best value is
    the lowest or highest of three or more tried there.
    """

    keys: tuple[str, ...]
    knobs: tuple[str, ...]
    frame: pl.DataFrame
    rows: NDArray[np.int64]
    losses: Array
    noise: float | None
    noise_freedom: int
    noise_origin: str
    at_edge: Mapping[str, int]

    @property
    def selected(self) -> bool:
        """Whether a point has several settings."""
        return bool((self.frame["settings"] > 1).any())

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what was selected and by how much the selection was corrected."""
        return tuple(_notes(self)) if self.selected else ()

    def values(self) -> dict[str, Any]:
        """Return the selection as plain values for JSON."""
        return {
            "knobs": list(self.knobs),
            "noise": self.noise,
            "noise_freedom": self.noise_freedom,
            "noise_origin": self.noise_origin or None,
            "at_edge": dict(self.at_edge),
            "points": self.frame.to_dicts(),
        }


def best_points(frame: pl.DataFrame, keys: Sequence[str], knobs: Sequence[str], loss: str) -> BestPoints:
    """Return the best setting of ``knobs`` at each combination of ``keys``.

    ``frame`` has the columns ``keys``, ``knobs`` and ``loss``, which is finite and positive in every row. Raise
    InputError if a name of theirs is one that `BestPoints` uses.
    """
    if taken := [name for name in (*keys, *knobs) if name in _OWN]:
        raise InputError(f"{', '.join(taken)}: rename the column, whose name the points of a law have for their own")
    every = settings(frame, keys, knobs, loss).sort([*keys, *knobs], nulls_last=True)
    alone = pl.len().over(keys) == 1
    parts = every.filter(~alone).partition_by(list(keys), as_dict=True, maintain_order=True)
    bowls = _bowls(parts, knobs, loss)
    noise, freedom, origin = _noise(every, parts, bowls, knobs, loss)
    lowest = [int(part[loss].arg_min() or 0) for part in parts.values()]
    best = pl.concat([every.clear(), *(part[at] for part, at in zip(parts.values(), lowest, strict=True))])
    used = [_corrected(part, loss, _fits(bowls.get(at), noise), noise) for at, part in parts.items()]
    chosen = best.with_columns(
        pl.Series("used", [value for value, _ in used], pl.Float64),
        pl.Series("how", [how for _, how in used], pl.String),
        pl.Series("settings", [part.height for part in parts.values()], pl.Int64),
    )
    only = every.filter(alone).with_columns(
        pl.col(loss).alias("used"), how=pl.lit("only"), settings=pl.lit(1, pl.Int64)
    )
    points = pl.concat([chosen, only.select(chosen.columns)]).sort(keys, nulls_last=True).select(
        *keys, *knobs, pl.col(loss).alias("lowest"), "used", "how", "settings",
        pl.col(SEEDS).alias("seeds"), pl.col(SEED_STD).alias("seed_std"),
    )  # fmt: skip
    rows, losses = _runs(frame, points, [*keys, *knobs], loss)
    open_parts = [part for part, (_, how) in zip(parts.values(), used, strict=True) if how not in ("fitted", "only")]
    edges = _at_edge(open_parts, knobs, loss)
    return BestPoints(tuple(keys), tuple(knobs), points, rows, losses, noise, freedom, origin, edges)


def _noise(
    every: pl.DataFrame, parts: Mapping[Any, pl.DataFrame], bowls: Mapping[Any, Quadratic], knobs: Sequence[str],
    loss: str,
) -> tuple[float | None, int, str]:  # fmt: skip
    """Return the standard deviation of log loss of a run, its degrees of freedom, and its origin."""
    if (found := run_noise(every, parts.values(), knobs, loss)) is not None:
        return found.sd, found.freedom, found.origin
    fits = [one for one in bowls.values() if one.freedom > 0]
    freedom = sum(one.freedom for one in fits)
    total = sum(one.freedom * one.noise**2 for one in fits)
    return (float(np.sqrt(total / freedom)), freedom, "residuals") if freedom > 0 and total > 0 else (None, 0, "")


def _bowls(parts: Mapping[Any, pl.DataFrame], knobs: Sequence[str], loss: str) -> dict[Any, Quadratic]:
    """Return the quadratics of the points whose settings support an optimum, all fitted in one batch."""
    problems, described = {}, {}
    for at, part in parts.items():
        if part.height < LEAST_SETTINGS or not all(_is_known(part[name]) for name in knobs):
            continue
        losses = part[loss].to_numpy()
        order = np.argsort(losses, kind="stable")[:MOST_SETTINGS]
        settings = CellSettings({name: _taken(as_column(part[name]), order) for name in knobs}, np.log(losses[order]))
        found = settings.knobs({name: column[0] for name, column in settings.columns.items()})
        if (problem := settings.problem(found)[0]) is not None:
            problems[at], described[at] = problem, found
    fits = zip(problems, fit_quadratics(list(problems.values()), intervals=False), strict=True)
    return {at: fit for at, fit in fits if not objection(fit, with_fit(described[at], fit))}


def _taken(column: Array | pl.Series, order: NDArray[np.int64]) -> Array | pl.Series:
    return column.gather(order) if isinstance(column, pl.Series) else column[order]


def _is_known(knob: pl.Series) -> bool:
    return not knob.has_nulls() and not (knob.dtype.is_float() and not knob.is_finite().all())


def _fits(bowl: Quadratic | None, noise: float | None) -> float | None:
    """Return the loss at a fitted optimum, None if the quadratic misses its settings by more than their noise."""
    if bowl is None or not np.isfinite(bowl.minimum):
        return None
    return float(np.exp(bowl.minimum)) if noise is None or bowl.noise <= MISFIT * noise else None


def _corrected(part: pl.DataFrame, loss: str, fitted: float | None, noise: float | None) -> tuple[float, How]:
    """Return the loss that a law is fitted to at one point, and how it differs from the lowest mean."""
    lowest = float(part[loss].min())  # type: ignore[arg-type]
    if fitted is not None:
        return fitted, "fitted"
    own, freedom = between_seeds(part)
    noise = own if freedom >= LEAST_OWN else noise
    if noise is None:
        return lowest, "lowest"
    errors = noise / np.sqrt(part[SEEDS].to_numpy().astype(float))
    return float(lowest * np.exp(selection_bias(np.log(part[loss].to_numpy()), errors))), "corrected"


def _at_edge(parts: Sequence[pl.DataFrame], knobs: Sequence[str], loss: str) -> dict[str, int]:
    """Return, by knob, the number of these points whose best value is an end of LEAST_LEVELS or more, zero excepted."""
    counts = dict.fromkeys(knobs, 0)
    for part in parts:
        best = part.row(int(part[loss].arg_min() or 0), named=True)
        for name in knobs:
            if best[name] and _is_known(part[name]) and part[name].n_unique() >= LEAST_LEVELS:
                counts[name] += best_level(name, as_column(part[name]), best[name]).touches_edge
    return {name: count for name, count in counts.items() if count}


def _runs(
    frame: pl.DataFrame, points: pl.DataFrame, names: Sequence[str], loss: str
) -> tuple[NDArray[np.int64], Array]:
    """Return the positions of the runs of the best settings, ascending, and their losses with the correction."""
    shift = points.select(*names, (pl.col("used") - pl.col("lowest")).alias("__shift"))
    runs = frame.select(*names, pl.col(loss).alias("__loss")).with_row_index("__at")
    found = runs.join(shift, on=list(names), how="inner", nulls_equal=True).sort("__at")
    return found["__at"].to_numpy().astype(np.int64), (found["__loss"] + found["__shift"]).to_numpy()


def _notes(points: BestPoints) -> Iterator[str]:
    names = ", ".join(points.knobs)
    yield (
        f"runs at one point differ in {names}: the best setting of each point is used, by its mean over seeds; "
        "--all-rows (all_rows=True) fits all"
    )
    several = points.frame.filter(pl.col("settings") > 1)
    nats = (several["used"] - several["lowest"]).to_numpy()
    for how, what in _HOW.items():
        chosen = (several["how"] == how).to_numpy()
        if chosen.any():
            most = int(several["settings"].filter(pl.Series(chosen)).max() or 0)  # type: ignore[arg-type]
            low, high = (
                f"{end:{'+' if how == 'fitted' else ''}.2g}" for end in (nats[chosen].min(), nats[chosen].max())
            )
            moved = f"by {low} to {high}" if low != high else f"by {low}" if float(low) else "by nothing"
            spread = f"{percent(float(f'{points.noise:.1g}'))}, from {points.noise_origin}" if points.noise else ""
            yield what.format(points=counted(int(chosen.sum()), "point"), settings=most, noise=spread, moved=moved)
    if points.at_edge:
        ends = [f"the lowest or highest {name} tried at {counted(n, 'point')}" for name, n in points.at_edge.items()]
        yield (
            f"the best setting has {' and '.join(ends)}: a better one may lie beyond, so that the losses there are too "
            "high, and the law with them"
        )


_HOW: Mapping[How, str] = {
    "fitted": "{points}: the loss is the minimum of a quadratic in the logs of the knobs over up to {settings} "
    "settings, which differs from the lowest mean {moved}",
    "corrected": "{points}: the lowest of up to {settings} settings is raised {moved} to correct for its selection "
    "(relative noise of a run {noise})",
    "lowest": "{points}: the lowest of up to {settings} settings, not corrected for its selection (biased low): "
    "without seeds or a fitted optimum the noise of a run is unknown",
}
