"""Tables to statements: laws with verified optima and honest uncertainty. Names load when first used."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS: dict[str, str] = {
    # name: module that defines it. No name may be a module's own: importing the module would then hide it.
    "load": "sweeplaw.analysis.tables.tables",
    "fit": "sweeplaw.analysis.fitting.fit",
    "Fit": "sweeplaw.analysis.fitting.fit",
    "Law": "sweeplaw.analysis.laws.law",
    "LAWS": "sweeplaw.analysis.laws.catalog",
    "formula_law": "sweeplaw.analysis.laws.law",
    "Objective": "sweeplaw.analysis.fitting.objectives",
    "parse_objective": "sweeplaw.analysis.fitting.objectives",
    "profile": "sweeplaw.analysis.fitting.profiles",
    "coverage": "sweeplaw.analysis.fitting.coverage",
    "allocate": "sweeplaw.analysis.scaling.allocation",
    "exponents": "sweeplaw.analysis.scaling.allocation",
    "compare_approaches": "sweeplaw.analysis.scaling.isoflop",
    "largest": "sweeplaw.analysis.fitting.validation",
    "leave_cell_out": "sweeplaw.analysis.fitting.validation",
    "compare": "sweeplaw.analysis.fitting.validation",
    "ranking": "sweeplaw.analysis.fitting.validation",
    "crossover": "sweeplaw.analysis.scaling.crossover",
    "forecast": "sweeplaw.analysis.scaling.learning_curve",
    "prediction_level": "sweeplaw.analysis.scaling.learning_curve",
    "summarise": "sweeplaw.analysis.report.fit_summary",
    "optima": "sweeplaw.analysis.tuning.optimum",
    "hyperlaw": "sweeplaw.analysis.hyperlaws.hyperlaw",
}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'sweeplaw.analysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
