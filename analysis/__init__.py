"""From tables to conclusions: laws with verified optima and intervals of tested coverage. Names load on first use.

Reads `trials` without its workloads and training; neither Ray, torch nor anything that writes to a store.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _EXPORTS, for type checkers and editors
    from sweeplaw.analysis.adequacy.adequacy import Adequacy as Adequacy
    from sweeplaw.analysis.adequacy.advice import allocate as allocate
    from sweeplaw.analysis.fitting.coverage import coverage as coverage
    from sweeplaw.analysis.fitting.derived.allocation import exponents as exponents
    from sweeplaw.analysis.fitting.derived.loss_interval import loss_at as loss_at
    from sweeplaw.analysis.fitting.display.fit_summary import summarise as summarise
    from sweeplaw.analysis.fitting.fit import fit as fit
    from sweeplaw.analysis.fitting.fitted_law import Fit as Fit
    from sweeplaw.analysis.fitting.profiles import profile as profile
    from sweeplaw.analysis.fitting.solver.objectives import Objective as Objective
    from sweeplaw.analysis.fitting.solver.objectives import parse_objective as parse_objective
    from sweeplaw.analysis.forecasting.forecaster import Forecaster as Forecaster
    from sweeplaw.analysis.forecasting.forecaster import forecaster as forecaster
    from sweeplaw.analysis.forecasting.prediction import Prediction as Prediction
    from sweeplaw.analysis.forecasting.registered.register import register_forecast as register_forecast
    from sweeplaw.analysis.forecasting.registered.scoring import score_forecasts as score_forecasts
    from sweeplaw.analysis.forecasting.rollouts import rollouts as rollouts
    from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw as hyperlaw
    from sweeplaw.analysis.laws.catalog import LAWS as LAWS
    from sweeplaw.analysis.laws.law import Law as Law
    from sweeplaw.analysis.laws.law import formula_law as formula_law
    from sweeplaw.analysis.recipes.comparison import compare_recipes as compare_recipes
    from sweeplaw.analysis.recipes.rungs import rungs as rungs
    from sweeplaw.analysis.recipes.study.crossing import recipe_crossing as recipe_crossing
    from sweeplaw.analysis.recipes.study.distillation import retained_share as retained_share
    from sweeplaw.analysis.recipes.study.picks import split_picks as split_picks
    from sweeplaw.analysis.recipes.study.study import recipe_limits as recipe_limits
    from sweeplaw.analysis.scaling.crossover import crossover as crossover
    from sweeplaw.analysis.scaling.isoflop import compare_approaches as compare_approaches
    from sweeplaw.analysis.scaling.learning_curve import forecast as forecast
    from sweeplaw.analysis.scaling.learning_curve import prediction_level as prediction_level
    from sweeplaw.analysis.scaling.validation import compare as compare
    from sweeplaw.analysis.scaling.validation import largest as largest
    from sweeplaw.analysis.scaling.validation import leave_cell_out as leave_cell_out
    from sweeplaw.analysis.scaling.validation import ranking as ranking
    from sweeplaw.analysis.tables.tables import Tables as Tables
    from sweeplaw.analysis.tables.tables import load as load
    from sweeplaw.analysis.tuning.experiment.experiment import tuning_experiment as tuning_experiment
    from sweeplaw.analysis.tuning.importance import importance as importance
    from sweeplaw.analysis.tuning.optimum import optima as optima
    from sweeplaw.analysis.tuning.transfer import transfer as transfer

_EXPORTS: dict[str, str] = {
    # name: module that defines it. No name may be that of a module here: importing the module would then hide it.
    "load": "sweeplaw.analysis.tables.tables",
    "fit": "sweeplaw.analysis.fitting.fit",
    "Fit": "sweeplaw.analysis.fitting.fitted_law",
    "Law": "sweeplaw.analysis.laws.law",
    "LAWS": "sweeplaw.analysis.laws.catalog",
    "formula_law": "sweeplaw.analysis.laws.law",
    "Objective": "sweeplaw.analysis.fitting.solver.objectives",
    "parse_objective": "sweeplaw.analysis.fitting.solver.objectives",
    "loss_at": "sweeplaw.analysis.fitting.derived.loss_interval",
    "profile": "sweeplaw.analysis.fitting.profiles",
    "coverage": "sweeplaw.analysis.fitting.coverage",
    "Adequacy": "sweeplaw.analysis.adequacy.adequacy",
    "allocate": "sweeplaw.analysis.adequacy.advice",
    "exponents": "sweeplaw.analysis.fitting.derived.allocation",
    "compare_approaches": "sweeplaw.analysis.scaling.isoflop",
    "largest": "sweeplaw.analysis.scaling.validation",
    "leave_cell_out": "sweeplaw.analysis.scaling.validation",
    "compare": "sweeplaw.analysis.scaling.validation",
    "ranking": "sweeplaw.analysis.scaling.validation",
    "crossover": "sweeplaw.analysis.scaling.crossover",
    "compare_recipes": "sweeplaw.analysis.recipes.comparison",
    "rungs": "sweeplaw.analysis.recipes.rungs",
    "recipe_limits": "sweeplaw.analysis.recipes.study.study",
    "recipe_crossing": "sweeplaw.analysis.recipes.study.crossing",
    "retained_share": "sweeplaw.analysis.recipes.study.distillation",
    "split_picks": "sweeplaw.analysis.recipes.study.picks",
    "forecaster": "sweeplaw.analysis.forecasting.forecaster",
    "Forecaster": "sweeplaw.analysis.forecasting.forecaster",
    "Prediction": "sweeplaw.analysis.forecasting.prediction",
    "register_forecast": "sweeplaw.analysis.forecasting.registered.register",
    "score_forecasts": "sweeplaw.analysis.forecasting.registered.scoring",
    "rollouts": "sweeplaw.analysis.forecasting.rollouts",
    "forecast": "sweeplaw.analysis.scaling.learning_curve",
    "prediction_level": "sweeplaw.analysis.scaling.learning_curve",
    "summarise": "sweeplaw.analysis.fitting.display.fit_summary",
    "optima": "sweeplaw.analysis.tuning.optimum",
    "hyperlaw": "sweeplaw.analysis.hyperlaws.hyperlaw",
    "Tables": "sweeplaw.analysis.tables.tables",
    "importance": "sweeplaw.analysis.tuning.importance",
    "transfer": "sweeplaw.analysis.tuning.transfer",
    "tuning_experiment": "sweeplaw.analysis.tuning.experiment.experiment",
}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'sweeplaw.analysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
