"""Scaling-law sweeps: launch them, query their tables, fit their laws.

The packages `sweeplaw.orchestrator`, `sweeplaw.analysis`, `sweeplaw.clusters` and `sweeplaw.trials` are links to the
folders of those names at the top level of the checkout. What people use is offered here and loads when first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _EXPORTS, for type checkers and editors
    from sweeplaw import analysis, clusters, orchestrator, trials
    from sweeplaw.analysis.fitting.fit import fit
    from sweeplaw.analysis.forecasting.forecaster import forecaster
    from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
    from sweeplaw.analysis.laws.catalog import LAWS
    from sweeplaw.analysis.laws.law import Law
    from sweeplaw.analysis.tables.tables import load
    from sweeplaw.analysis.tuning.optimum import optima
    from sweeplaw.clusters.profile.profile import load as read_profile
    from sweeplaw.orchestrator.launch.launch import launch
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.plan.sweep import read as read_sweep
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.errors import InputError

    __version__: str

# name: (module, attribute)
_EXPORTS: dict[str, tuple[str, str]] = {
    "read_sweep": ("sweeplaw.orchestrator.plan.sweep", "read"),
    "plan": ("sweeplaw.orchestrator.plan.plan", "plan"),
    "read_profile": ("sweeplaw.clusters.profile.profile", "load"),
    "Store": ("sweeplaw.orchestrator.store.store", "Store"),
    "launch": ("sweeplaw.orchestrator.launch.launch", "launch"),
    "load": ("sweeplaw.analysis.tables.tables", "load"),
    "fit": ("sweeplaw.analysis.fitting.fit", "fit"),
    "Law": ("sweeplaw.analysis.laws.law", "Law"),
    "LAWS": ("sweeplaw.analysis.laws.catalog", "LAWS"),
    "hyperlaw": ("sweeplaw.analysis.hyperlaws.hyperlaw", "hyperlaw"),
    "optima": ("sweeplaw.analysis.tuning.optimum", "optima"),
    "forecaster": ("sweeplaw.analysis.forecasting.forecaster", "forecaster"),
    "InputError": ("sweeplaw.trials.errors", "InputError"),
}
_PACKAGES = ("analysis", "clusters", "orchestrator", "trials")

if not all((Path(__file__).parent / name).is_dir() for name in _PACKAGES):
    raise ImportError(
        f"{Path(__file__).parent} has no links to {', '.join(_PACKAGES)}: check the repository out with symbolic links "
        "(git config core.symlinks true), or install a wheel"
    )

__all__ = [
    "LAWS",
    "InputError",
    "Law",
    "Store",
    "analysis",
    "clusters",
    "fit",
    "forecaster",
    "hyperlaw",
    "launch",
    "load",
    "optima",
    "orchestrator",
    "plan",
    "read_profile",
    "read_sweep",
    "trials",
]

if not TYPE_CHECKING:  # type checkers know every name from above, and refuse the others

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return importlib.import_module(f"sweeplaw.{name}")
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("sweeplaw")
        if name not in _EXPORTS:
            raise AttributeError(f"module 'sweeplaw' has no attribute {name!r}")
        module, attribute = _EXPORTS[name]
        value = globals()[name] = getattr(importlib.import_module(module), attribute)
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
