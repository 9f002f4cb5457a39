"""Tables to statements: laws with verified optima and honest uncertainty. Names load when first used."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS: dict[str, str] = {
    # name: module that defines it. No name may be a module's own: importing the module would then hide it.
    "load": "analysis.tables",
    "fit": "analysis.fitting",
    "Fit": "analysis.fitting",
    "Law": "analysis.law",
    "LAWS": "analysis.laws",
    "formula_law": "analysis.law",
    "Objective": "analysis.objectives",
    "parse_objective": "analysis.objectives",
    "profile": "analysis.profiles",
    "coverage": "analysis.simulate",
    "allocate": "analysis.derived",
    "exponents": "analysis.derived",
    "compare_approaches": "analysis.isoflop",
    "largest": "analysis.validation",
    "leave_cell_out": "analysis.validation",
    "compare": "analysis.validation",
    "ranking": "analysis.validation",
    "crossover": "analysis.crossing",
    "forecast": "analysis.learning_curve",
    "prediction_level": "analysis.learning_curve",
    "summarise": "analysis.fit_summary",
    "optima": "analysis.optimum",
    "hyperlaw": "analysis.hyperlaws",
}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
