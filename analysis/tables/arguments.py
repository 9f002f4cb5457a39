"""What functions of tables are given: the address of a source, which trials to keep, and lists of columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def is_names(value: Any) -> bool:
    """Return whether the value is a list of names, and no single text."""
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


def name_faults(lists: Mapping[str, Any]) -> list[str]:
    """Return a fault for each value that is no list of columns. The keys are the names of the arguments."""
    return [
        f"{name} = {shown(value)} (accepted: a list of columns)" for name, value in lists.items() if not is_names(value)
    ]


def check_names(**lists: Any) -> None:
    """Raise InputError if a value is neither None nor a list of columns, such as the text of one name."""
    if faults := name_faults({name: given for name, given in lists.items() if given is not None}):
        raise InputError(faults)


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
