"""Tables to statements: laws with verified optima and honest uncertainty. Names load when first used."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS: dict[str, str] = {
    # name: module that defines it
    "load": "analysis.tables",
    "fit": "analysis.fitting",
    "Fit": "analysis.fitting",
    "Law": "analysis.laws",
    "LAWS": "analysis.laws",
    "formula_law": "analysis.laws",
    "Objective": "analysis.objectives",
    "parse_objective": "analysis.objectives",
    "optima": "analysis.optimum",
    "hyperlaw": "analysis.hyperlaws",
    "importance": "analysis.importance",
    "transfer": "analysis.transfer",
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
