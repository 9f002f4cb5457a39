"""What `load` is given: the address of its source, and which trials to keep."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.record import STATES
from sweeplaw.trials.store_format.location import Location


def address(source: Any) -> str | Path:
    """Return the path or URI of a source. Raise InputError for what has none."""
    if isinstance(location := getattr(source, "location", None), Location):
        return location.uri
    if isinstance(source, str | Path) and str(source):
        return source
    raise InputError(f"source = {shown(source)} (accepted: the path of a store or a file, the URI of a store, a Store)")


def check_filters(states: Any, where: Any) -> None:
    """Raise InputError if the states or the condition have a wrong type, or a state is not known."""
    faults = []
    if states is not None and (isinstance(states, str) or not isinstance(states, Collection)):
        faults.append(f"states = {shown(states)} (accepted: None for all, or a list of {', '.join(STATES)})")
    elif unknown := sorted(str(state) for state in states or () if state not in STATES):
        faults.append(f"states: {', '.join(unknown)} not known (accepted: {', '.join(STATES)})")
    if where is not None and not isinstance(where, str | pl.Expr):
        faults.append(f"where = {shown(where)} (accepted: an SQL condition, a Polars expression)")
    if faults:
        raise InputError(faults)
