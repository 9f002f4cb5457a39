"""The keyword arguments of `fit`: their names, defaults and checks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, TypedDict, get_type_hints

from sweeplaw.analysis.fitting.noise.groups import ACCEPTED_BY
from sweeplaw.analysis.tables.arguments import is_names
from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.progress import ProgressCallback, no_progress


class FitOptions(TypedDict, total=False):
    """The keyword arguments of `fit`, documented there; all are optional."""

    space: Literal["raw", "log"]
    reduction: Literal["mean", "sum"]
    weights: str | None
    units: Mapping[str, float] | None
    where: str | None
    best: bool
    all_rows: bool
    pool: bool
    knobs: Sequence[str] | None
    fixed: Mapping[str, float] | None
    bounds: Mapping[str, tuple[float | None, float | None]] | None
    bootstrap: int
    by: str
    keys: Sequence[str]
    level: float
    seed: int
    watch: ProgressCallback


DEFAULTS: Mapping[str, Any] = {
    "space": "log", "reduction": "mean", "weights": None, "units": None, "where": None, "best": True, "all_rows": False,
    "pool": False, "knobs": None, "fixed": None, "bounds": None, "bootstrap": 0, "by": "auto",
    "keys": (), "level": 0.95, "seed": 0, "watch": no_progress,
}  # fmt: skip


def complete(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options, those not given at their defaults. Raise InputError for unknown ones and unfit values."""
    unknown = [f"{name!r} is no option of fit{nearest(name, DEFAULTS)}" for name in options if name not in DEFAULTS]
    if unknown:
        raise InputError([*unknown[:-1], f"{unknown[-1]} (accepted: {', '.join(DEFAULTS)})"])
    chosen = {**DEFAULTS, **options}
    faults = [
        f"{name} = {shown(chosen[name])} (accepted: {accepted})"
        for name, accepts, accepted in _CHECKS
        if not accepts(chosen[name])
    ]
    if faults := [*faults, *_bound_faults(chosen["bounds"])]:
        raise InputError(faults)
    return chosen


def with_options(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function of `FitOptions` with each option by name, for help and completion."""
    signature = inspect.signature(function, eval_str=True)
    known = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS[name], annotation=kind)
        for name, kind in get_type_hints(FitOptions).items()
    ]
    return signature.replace(parameters=[*known, *named])


def is_real(value: Any) -> bool:
    """Return whether the value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_text(value: Any) -> bool:
    """Return whether the value is text, or None."""
    return value is None or isinstance(value, str)


def _is_count(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and int(value) >= 0


def _is_numbers(value: Any) -> bool:
    """Return whether the value maps names to numbers, or is None."""
    named = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    return value is None or (named and all(map(_is_real, value.values())))


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("weights", is_text, "the name of a column"),
    ("units", _is_numbers, "a mapping of inputs to numbers, such as {'N': 1e9}"),
    ("where", is_text, "an SQL condition, such as 'tokens > 1e6'"),
    *((name, lambda value: isinstance(value, bool), "True or False") for name in ("best", "all_rows", "pool")),
    ("knobs", lambda value: value is None or is_names(value), "a list of columns"),
    ("fixed", _is_numbers, "a mapping of parameters to numbers, such as {'E': 1.7}"),
    ("bootstrap", _is_count, "a whole number of resamples, 0 for none"),
    ("by", lambda value: isinstance(value, str), ACCEPTED_BY),
    ("keys", is_names, "a list of columns"),
    ("level", lambda value: is_real(value) and 0 < value < 1, "a number between 0 and 1"),
    ("seed", _is_count, "a whole number that is zero or more"),
    ("watch", callable, "a function of the resamples done and their total"),
)


def _bound_faults(bounds: Any) -> Iterator[str]:
    accepted = "(accepted: a mapping of parameters to pairs, such as {'E': (1.0, None)})"
    if bounds is None:
        return
    if not isinstance(bounds, Mapping):
        yield f"bounds = {shown(bounds)} {accepted}"
        return
    for name, pair in bounds.items():
        ends = list(pair) if isinstance(pair, list | tuple) else []
        if not isinstance(name, str) or len(ends) != 2 or not all(end is None or _is_real(end) for end in ends):
            yield f"bounds of {name!r}: {shown(pair)} {accepted}"
