"""Identity of an imported run: what its source says about it, however the mapping is written.

A run that has an id is that id, in its tracker or else in its file. Without one it is the values of the source columns
that the mapping reads or keeps. Numbers are compared by value: 1, 1.0 and the text "1" are one.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplaw.trials.spec import TrialSpec

WORKLOAD = "imported"
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_EXACT = 2**53  # below it every whole number is a float


def identity(values: Mapping[str, Any], run: Sequence[str], tracker: str | None, source: str) -> TrialSpec:
    """Return the spec of a run. ``values`` are those of its source columns; ``run`` names the ones that identify it."""
    if not run:
        return TrialSpec(WORKLOAD, {name: _cell(value) for name, value in values.items() if value is not None})
    within = {"source": source} if tracker is None else {"tracker": tracker}
    return TrialSpec(WORKLOAD, {**within, "run": "/".join(_text(values[name]) for name in run)})


def earlier_identity(known: Mapping[str, Any], run: Sequence[str] | None, source: str) -> TrialSpec:
    """Return the spec that version 0.1 gave a run: ``known`` are its mapped values, ``run`` the values of its id."""
    return TrialSpec(WORKLOAD, known if run is None else {"source": source, "run": "/".join(map(str, run))})


def _cell(value: Any) -> str:
    """Return the text of a value; text that is a number or a truth value is taken as one."""
    if not isinstance(value, str):
        return _text(value)
    word = value.strip()
    if word.lower() in ("true", "false"):
        return word.lower()
    if not _NUMBER.fullmatch(word):
        return value
    number = int(word) if _WHOLE.fullmatch(word) else float(word)
    return _text(number) if math.isfinite(number) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return "" if value is None else value if isinstance(value, str) else repr(value)
