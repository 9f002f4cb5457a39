"""The workloads a sweep may name, each loaded when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.workload import Workload

SWEEP_OPTIONS = ("axes", "folder")  # what a sweep adds to the options a person wrote

_BUILT_IN = {
    "language_model": "sweeplaw.trials.workloads.language_model:LanguageModel",
    "surrogate": "sweeplaw.trials.workloads.surrogate:Surrogate",
    "python": "sweeplaw.trials.workloads.user_code.python_function:PythonFunction",
    "command": "sweeplaw.trials.workloads.user_code.command:Command",
}


def load(name: str, options: Mapping[str, Any] | None = None) -> Workload:
    """The workload of this name: ``language_model``, ``surrogate``, ``python:module:function`` or ``command``.

    ``options`` are the workload's own settings from the sweep file (the knobs a function takes, a command's arguments),
    and those every sweep adds: ``axes``, sample values of each name it sets, and ``folder``, where the file lies
    (relative paths start there). Raises InputError for an unknown name or bad options.
    """
    kind, _, rest = name.partition(":")
    if kind not in _BUILT_IN:
        accepted = "language_model, surrogate, python:package.module:function, command"
        raise InputError(f"workload = {name!r} is not known (accepted: {accepted}){nearest(kind, _BUILT_IN)}")
    module, _, attribute = _BUILT_IN[kind].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return factory.of(rest, dict(options or {}))
