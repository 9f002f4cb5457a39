"""The estimators of laws of the best setting, by their names."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.analysis.hyperlaws.evaluation import Estimator
from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.hyperlaws.joint import joint, joint_within
from sweeplaw.analysis.hyperlaws.per_cell import per_cell
from sweeplaw.analysis.hyperlaws.pooled import STEP_LAW_THRESHOLD, Pooled
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.errors import InputError, shown

ESTIMATORS = "pooled:THRESHOLD (pooled:0.0025 is Step Law's), cells, joint"


def parse_estimator(text: str) -> tuple[str, float]:
    """Return ("pooled", threshold), ("cells", nan) or ("joint", nan). Raise InputError."""
    kind, _, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind == "pooled":
        try:
            threshold = float(rest) if rest else STEP_LAW_THRESHOLD
        except ValueError:
            threshold = float("nan")
        if 0 < threshold < 1:
            return kind, threshold
    elif kind in ("cells", "joint") and not rest:
        return kind, float("nan")
    raise InputError(f"estimator = {shown(text)} is not known (accepted: {ESTIMATORS})")


def estimator_of(
    kind: str, threshold: float, table: CellTable, optima: Sequence[CellOptimum], terms: Features,
    window: float | None = None,
) -> Estimator:  # fmt: skip
    """Return the estimator of ``kind`` on ``table``.

    ``optima``: of the cells, for "cells". ``window``: of the joint surface, which else chooses its own.
    """
    if kind == "pooled":
        return Pooled(table, terms, threshold)
    if kind == "cells":
        return per_cell(table, terms, optima)
    return joint(table, terms) if window is None else joint_within(table, terms, window)
