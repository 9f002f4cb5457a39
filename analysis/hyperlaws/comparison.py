"""Comparison of published laws on measured runs, by the regret of their predictions in every cell.

If a law predicts only some of the knobs, the others are set to the cell's best given its prediction (the most
favourable reading), and a remark says so. So are knobs without an effect beyond the noise, whatever a law predicts for
them: the curvature of noise is no regret. Law constants are never refitted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.evaluation import LawEvaluation, Scorer, score
from sweeplaw.analysis.hyperlaws.flat_knobs import flat_knobs
from sweeplaw.analysis.hyperlaws.published import LAWS, Count, Knob, PublishedLaw
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.settings import keyed
from sweeplaw.trials.errors import InputError, nearest

Array = NDArray[np.float64]

KNOBS: tuple[Knob, ...] = ("lr", "batch_tokens", "weight_decay")
SIZE_COLUMNS: Mapping[Count, str] = {"non_embedding": "params_non_embedding", "total": "params"}


@dataclass(frozen=True, slots=True, repr=False)
class LawScore(Shown):
    """Score of one law on the cells. ``evaluation`` is None if nothing it predicts can be scored; ``remark`` says why.

    ``predicted`` (cells, knobs): natural logs, NaN for knobs that the law does not predict. ``scored``: the share of
    the knobs whose predictions are scored. ``off``: by knob, the median ratio of its prediction to the cell's own
    optimum. ``remark``: the assumptions made.
    """

    law: PublishedLaw
    evaluation: LawEvaluation | None
    predicted: Array
    off: Mapping[str, float]
    remark: str
    scored: float = 1.0

    @property
    def noise_floor(self) -> float | None:
        """What noise adds to the regret (c), in per mille of loss: the part of the knobs scored; None if unknown."""
        floor = None if self.evaluation is None else self.evaluation.metric("quadratic").floor
        return None if floor is None else self.scored * floor

    @property
    def above_noise(self) -> float | None:
        """The regret (c) less its noise floor, not below zero; as it is where the floor is unknown."""
        regret = None if self.evaluation is None else self.evaluation.metric("quadratic").score
        return None if regret is None else max(0.0, regret - (self.noise_floor or 0.0))

    def headline(self) -> tuple[str, ...]:
        """Return the regret above the noise in per mille of loss, the law's formula, and how far off each knob is."""
        if self.evaluation is None:
            return (f"      -  {self.law.name}: {self.remark}",)
        off = ", ".join(f"{name} {factor:.2f}x" for name, factor in self.off.items())
        tail = " ".join(filter(None, [off and f"(off: {off})", self.remark]))
        mark = "" if self.law.verified else " [second-hand]"
        regret = self.above_noise
        score = "      -" if regret is None else f"{regret:7.3f}"
        return (f"{score}  {self.law.name}{mark}  {self.law.formula}  {tail}".rstrip(),)

    def to_dict(self) -> dict[str, Any]:
        """Return the score as plain values for JSON."""
        law, metrics = self.law, None if self.evaluation is None else self.evaluation.metrics
        return dict(finite({
            "law": law.name,
            "title": law.title,
            "formula": law.formula,
            "units": law.units,
            "parameters": law.parameters,
            "source": law.source,
            "verified": law.verified,
            "standing": law.standing,
            "regret_permille": None if metrics is None else {m.name: m.score for m in metrics},
            "noise_floor_permille": None if metrics is None else {m.name: m.floor for m in metrics},
            "above_noise_permille": self.above_noise,
            "off_by": self.off,
            "remark": self.remark,
        }))  # fmt: skip


def compare(frame: pl.DataFrame, table: CellTable, scorer: Scorer, laws: Iterable[str] = tuple(LAWS)) -> list[LawScore]:
    """Return the laws' scores by regret (c), best first, laws without a score last. Raise InputError if one is unknown.

    ``frame`` is the source of ``table``: further columns (params, flops) are read from it and averaged per cell.
    """
    names = tuple(laws)
    faults = [f"no law {name!r}{nearest(name, LAWS)} (laws: {', '.join(LAWS)})" for name in names if name not in LAWS]
    if faults:
        raise InputError(faults)
    flat = flat_knobs(table)
    scores = [_score_law(LAWS[name], frame, table, scorer, flat) for name in names]
    return sorted(scores, key=lambda one: (one.evaluation is None, _regret(one)))


def _regret(law_score: LawScore) -> float:
    regret = law_score.evaluation.metric("quadratic").score if law_score.evaluation else None
    return np.inf if regret is None else regret


def _score_law(
    law: PublishedLaw, frame: pl.DataFrame, table: CellTable, scorer: Scorer, no_effect: Collection[str]
) -> LawScore:
    point, remarks = _point(law, frame, table)
    predicted = np.full((len(table.cells), len(table.knobs)), np.nan)
    # lr and batch first: a weight decay may depend on them.
    for knob in [name for name in KNOBS if name in law.predict and name in table.knobs]:
        missing = [name for name in law.needs[knob] if name not in point]
        if missing:
            remarks.append(f"{knob} needs {', '.join(missing)}, which the table lacks")
            continue
        with np.errstate(all="ignore"):  # a law has no value at sizes that no model has
            value = law.predict[knob](point)
        predicted[:, table.knobs.index(knob)] = np.log(np.where(value > 0, value, np.nan))
        point[knob] = value
    covered = np.isfinite(predicted).any(axis=0)
    if not covered.any():
        reason = "; ".join(remarks) or (
            "exponents only, no constant" if law.exponents else "predicts none of these knobs"
        )
        return LawScore(law, None, predicted, {}, reason)
    silent = [name for name, given in zip(table.knobs, covered, strict=True) if not given]
    if silent:
        remarks.append(f"does not predict {', '.join(silent)}: set to the best given the rest")
    flat = [name for name, given in zip(table.knobs, covered, strict=True) if given and name in no_effect]
    if flat:
        remarks.append(f"{', '.join(flat)}: no effect beyond the noise, so not scored")
    scored = covered & ~np.isin(table.knobs, flat)
    if not scored.any():
        return LawScore(law, None, predicted, {}, "; ".join(remarks), 0.0)
    evaluation = score(
        scorer, fill(scorer, np.where(scored, predicted, np.nan)), np.ones(len(table.cells), dtype=bool),
        ("as_published", "not refitted"),
    )  # fmt: skip
    own = np.stack([np.full(len(table.knobs), np.nan) if q is None else q.optimum for q in scorer.quadratics])
    off = {
        name: float(np.exp(np.nanmedian(predicted[:, k] - own[:, k])))
        for k, name in enumerate(table.knobs)
        if scored[k] and np.isfinite(own[:, k]).any()
    }
    return LawScore(law, evaluation, predicted, off, "; ".join(remarks), float(scored.mean()))


def fill(scorer: Scorer, predicted: Array) -> Array:
    """Return ``predicted`` (cells, knobs) with each NaN at the minimum of the cell's quadratic given the rest."""
    out = predicted.copy()
    for c, quadratic in enumerate(scorer.quadratics):
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
    """Return the quantities known at each cell, by the names that laws use, and remarks on substitutions."""
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
        with np.errstate(over="ignore"):
            point["C"] = 6 * point["N"] * point["D"]
        if any("C" in needs for needs in law.needs.values()):
            remarks.append("C is 6 N D")
    return point, remarks


def _size(law: PublishedLaw, frame: pl.DataFrame, table: CellTable) -> tuple[Array | None, str]:
    """Return the parameter count that the law uses if the table has it, else the N of the cells; and its column."""
    for name in (SIZE_COLUMNS.get(law.parameters), "N", "params_non_embedding", "params"):
        if name and (values := _column((name,), frame, table)) is not None:
            return values, name
    return None, ""


def _column(names: Sequence[str], frame: pl.DataFrame, table: CellTable) -> Array | None:
    """Return the mean over each cell's rows of the first of these columns that exists."""
    for name in names:
        if name in table.axes:
            return np.exp(table.log_axes[:, table.axes.index(name)])
        if name in frame.columns and frame[name].dtype.is_numeric():
            means = (
                keyed(frame, table.recipes)
                .group_by(table.cells.columns)
                .agg(pl.col(name).cast(pl.Float64).mean().alias("_mean"))
            )
            return table.cells.join(means, on=table.cells.columns, how="left", nulls_equal=True, maintain_order="left")[
                "_mean"
            ].to_numpy()
    return None
