"""Registry of the workloads that a sweep may name, each imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.workload import Workload

SWEEP_OPTIONS = ("axes", "folder")  # added by the sweep to the options in its file

_BUILT_IN = {
    "language_model": "sweeplaw.trials.workloads.language_model.workload:LanguageModel",
    "modular_arithmetic": "sweeplaw.trials.workloads.modular_arithmetic.workload:ModularArithmetic",
    "surrogate": "sweeplaw.trials.workloads.surrogate:Surrogate",
    "ridge": "sweeplaw.trials.workloads.ridge.workload:Ridge",
    "linear_dynamics": "sweeplaw.trials.workloads.linear_dynamics.workload:LinearDynamics",
    "ensemble": "sweeplaw.trials.workloads.ensemble.workload:Ensemble",
    "evaluation": "sweeplaw.trials.workloads.ensemble.tasks:Evaluation",
    "replay": "sweeplaw.trials.workloads.replay.workload:Replay",
    "python": "sweeplaw.trials.workloads.user_code.python_function:PythonFunction",
    "command": "sweeplaw.trials.workloads.user_code.command:Command",
}


def refuse_options(workload: str, rest: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for what follows the name of a workload without options, and any option that no sweep adds."""
    unknown = [name for name in options if name not in SWEEP_OPTIONS]
    faults = [f"workload.{name} is not known ({workload} has no options)" for name in unknown]
    if rest:
        faults.append(f"workload = '{workload}:{rest}' is not known (accepted: '{workload}')")
    if faults:
        raise InputError(faults)


def load(name: str, options: Mapping[str, Any] | None = None) -> Workload:
    """Load the workload of this name: ``language_model``, ``modular_arithmetic``, ``ensemble``, ``evaluation``,
    ``surrogate``, ``ridge``, ``linear_dynamics``, ``replay``, ``command`` or ``python:module:function``.

    ``options`` are the workload's own settings from the sweep file (the knobs of a function, the arguments of a
    command), and those that every sweep adds: ``axes``, sample values of each name it sets, and ``folder``, the folder
    of the file, where relative paths start. Raise InputError for an unknown name or invalid options.
    """
    kind, _, rest = name.partition(":")
    if kind not in _BUILT_IN:
        accepted = ", ".join("python:package.module:function" if name == "python" else name for name in _BUILT_IN)
        raise InputError(f"workload = {name!r} is not known (accepted: {accepted}){nearest(kind, _BUILT_IN)}")
    module, _, attribute = _BUILT_IN[kind].partition(":")
    workload: Workload = getattr(importlib.import_module(module), attribute).of(rest, dict(options or {}))
    return workload
