"""Published laws on your runs: what each one's prediction would have cost in every cell, ranked.

A law that predicts one knob of several gets the others set to the cell's own best given its prediction (the most
favourable reading), and says so. Law constants are never refitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.evaluation import LawEvaluation, Scorer, score
from sweeplaw.analysis.hyperlaws.published import LAWS, Count, Knob, PublishedLaw
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.trials.errors import InputError, nearest

Array = NDArray[np.float64]

KNOBS: tuple[Knob, ...] = ("lr", "batch_tokens", "weight_decay")
SIZE_COLUMNS: Mapping[Count, str] = {"non_embedding": "params_non_embedding", "total": "params"}


@dataclass(frozen=True, slots=True)
class LawScore:
    """One law on the cells. ``evaluation`` is null when the law could not predict, with ``remark`` why.

    ``predicted`` (cells, knobs): natural logs, NaN where the law has no word. ``off``: by knob, the median factor of
    its prediction over the cell's own optimum. ``remark``: what was assumed, in words.
    """

    law: PublishedLaw
    evaluation: LawEvaluation | None
    predicted: Array
    off: Mapping[str, float]
    remark: str


def compare(frame: pl.DataFrame, table: CellTable, arena: Scorer, laws: Iterable[str] = tuple(LAWS)) -> list[LawScore]:
    """The laws by regret (c), best first, those without a score last. Raises InputError for unknown names.

    ``frame`` is what ``table`` was made from: further columns (params, flops) are read there, averaged a cell.
    """
    names = tuple(laws)
    faults = [f"no law {name!r}{nearest(name, LAWS)} (laws: {', '.join(LAWS)})" for name in names if name not in LAWS]
    if faults:
        raise InputError(faults)
    contests = [_contest(LAWS[name], frame, table, arena) for name in names]
    return sorted(contests, key=lambda c: (c.evaluation is None, _regret(c)))


def _regret(contest: LawScore) -> float:
    regret = contest.evaluation.metric("quadratic").score if contest.evaluation else None
    return np.inf if regret is None else regret


def _contest(law: PublishedLaw, frame: pl.DataFrame, table: CellTable, arena: Scorer) -> LawScore:
    point, remarks = _point(law, frame, table)
    predicted = np.full((len(table.cells), len(table.knobs)), np.nan)
    # lr and batch first: a weight decay may be given through them.
    for knob in [name for name in KNOBS if name in law.predict and name in table.knobs]:
        missing = [name for name in law.needs[knob] if name not in point]
        if missing:
            remarks.append(f"{knob} needs {', '.join(missing)}, which the table lacks")
            continue
        value = law.predict[knob](point)
        predicted[:, table.knobs.index(knob)] = np.log(np.where(value > 0, value, np.nan))
        point[knob] = value
    said = np.isfinite(predicted).any(axis=0)
    if not said.any():
        reason = "; ".join(remarks) or (
            "exponents only, no constant" if law.exponents else "predicts none of these knobs"
        )
        return LawScore(law, None, predicted, {}, reason)
    silent = [name for name, word in zip(table.knobs, said, strict=True) if not word]
    if silent:
        remarks.append(f"says nothing of {', '.join(silent)}: set to the best given the rest")
    evaluation = score(
        arena, fill(arena, predicted), np.ones(len(table.cells), dtype=bool), ("as_published", "not refitted")
    )
    own = np.stack([np.full(len(table.knobs), np.nan) if q is None else q.optimum for q in arena.quadratics])
    off = {
        name: float(np.exp(np.nanmedian(predicted[:, k] - own[:, k])))
        for k, name in enumerate(table.knobs)
        if said[k] and np.isfinite(own[:, k]).any()
    }
    return LawScore(law, evaluation, predicted, off, "; ".join(remarks))


def fill(arena: Scorer, predicted: Array) -> Array:
    """``predicted`` (cells, knobs) with each NaN at the minimum of the cell's quadratic given the rest."""
    out = predicted.copy()
    for c, quadratic in enumerate(arena.quadratics):
        free = ~np.isfinite(predicted[c])
        if quadratic is None or not free.any() or free.all():
            continue
        step = predicted[c][~free] - quadratic.optimum[~free]
        hessian = quadratic.hessian
        out[c, free] = quadratic.optimum[free] - np.linalg.solve(
            hessian[np.ix_(free, free)], hessian[np.ix_(free, ~free)] @ step
        )
    return out


def _point(law: PublishedLaw, frame: pl.DataFrame, table: CellTable) -> tuple[dict[str, Array], list[str]]:
    """What is known at each cell under the names laws use, and remarks on what stands for what."""
    remarks: list[str] = []
    point: dict[str, Array] = {"L": np.exp(table.lowest)}
    if any("L" in needs for needs in law.needs.values()):
        remarks.append("L is the cell's own lowest loss")
    size, column = _size(law, frame, table)
    if size is not None:
        point["N"] = size
        reads = any("N" in law.needs[knob] for knob in law.knobs if knob in table.knobs)
        if reads and column != SIZE_COLUMNS.get(law.parameters):
            remarks.append(f"its N counts {law.parameters.replace('_', '-')} parameters; {column} stands for it")
    tokens = _column(("D", "tokens"), frame, table)
    if tokens is not None:
        point["D"] = tokens
    flops = _column(("C", "flops"), frame, table)
    if flops is not None:
        point["C"] = flops
    elif "N" in point and "D" in point:
        point["C"] = 6 * point["N"] * point["D"]
        if any("C" in needs for needs in law.needs.values()):
            remarks.append("C is 6 N D")
    return point, remarks


def _size(law: PublishedLaw, frame: pl.DataFrame, table: CellTable) -> tuple[Array | None, str]:
    """The parameter count the law means where the table has it, else the N of the cells."""
    for name in (SIZE_COLUMNS.get(law.parameters), "N", "params_non_embedding", "params"):
        if name and (values := _column((name,), frame, table)) is not None:
            return values, name
    return None, ""


def _column(names: Sequence[str], frame: pl.DataFrame, table: CellTable) -> Array | None:
    """Mean over each cell's rows of the first of these columns that the table has."""
    for name in names:
        if name in table.axes:
            return np.exp(table.log_axes[:, table.axes.index(name)])
        if name in frame.columns and frame[name].dtype.is_numeric():
            means = frame.group_by(table.cells.columns).agg(pl.col(name).cast(pl.Float64).mean().alias("_mean"))
            return table.cells.join(means, on=table.cells.columns, how="left", nulls_equal=True, maintain_order="left")[
                "_mean"
            ].to_numpy()
    return None
