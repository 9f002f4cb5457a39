"""The unit that N, D and U of a foreign table seem to be in, where their numbers are too small to be counts.

A language model has thousands of parameters or more and sees tens of thousands of tokens or more. Smaller numbers are
counts in millions or billions, unless the user says otherwise: an expression (``1e6 * params_M``) is used as given.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import numpy as np

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import short

Array = np.ndarray

SMALLEST: Mapping[str, float] = {"N": 1e3, "D": 1e4, "U": 1e4}
FACTORS: Mapping[float, str] = {1e6: "millions", 1e9: "billions"}
_NAMED = {1e6: r"(^|[^a-z])m(ill(ions?)?|n)?$", 1e9: r"(^|[^a-z])b(ill(ions?)?|n)?$"}  # params_M, tokens in billions
USUAL_RATIO = 20.0  # tokens a parameter (Hoffmann et al. 2022)
USUAL_N = (1e6, 1e13)  # parameters of models that scaling laws are about
GAP = 1e3  # between neighbouring values, at which a column is in two units


def apparent_units(inputs: Mapping[str, Array], columns: Mapping[str, str], units: Mapping[str, float]) -> str:
    """Return a sentence on the units that columns seem to be in, empty if they may be counts.

    ``inputs`` are the columns as they are in the table, ``columns`` the names of those that are no expressions,
    ``units`` the divisors that a law is fitted in. Raise InputError if a column seems to be in two units.
    """
    plain = {name: inputs[name] for name in SMALLEST if name in inputs and name in columns}
    small = {name: column for name, column in plain.items() if column.size and column.min() < SMALLEST[name]}
    if faults := [fault for name, column in small.items() if (fault := _mixed(name, columns[name], column))]:
        raise InputError(faults)
    if not small:
        return ""
    factors = _likeliest(small, inputs, columns)
    seeming = ", ".join(f"{labelled(name, columns[name])} in {FACTORS[factor]}" for name, factor in factors.items())
    options = " ".join(f"--x '{name}={factor:.0e}*{_quoted(columns[name])}'" for name, factor in factors.items())
    divided = "; --unit divides what the law sees, and does not state the unit of the table" if units else ""
    return f"{seeming.replace(' in ', ' seems to be in ', 1)} ({options.replace('e+0', 'e')} says so{divided})"


def labelled(name: str, column: str) -> str:
    """Return an input with the column that it is read from, where that has another name."""
    return name if name == column else f"{name} ({column})"


def _quoted(column: str) -> str:
    return column if column.isidentifier() else f'"{column}"'


def _mixed(name: str, column: str, values: Array) -> str:
    """Return a fault if values are in two groups far apart, the lower of which are too small to be counts."""
    ordered = np.unique(values)
    steps = ordered[1:] / ordered[:-1]
    if not steps.size or steps.max() < GAP or ordered[-1] < SMALLEST[name] * GAP:
        return ""
    below, above = ordered[int(steps.argmax())], ordered[int(steps.argmax()) + 1]
    few, many = int((values <= below).sum()), int((values >= above).sum())
    return (
        f"{labelled(name, column)} seems to be in two units: {few} rows are at most {short(below)} and {many} at least "
        f"{short(above)}; an expression makes them one (--x '{name}=...'), or --where selects some"
    )


def _likeliest(small: Mapping[str, Array], inputs: Mapping[str, Array], columns: Mapping[str, str]) -> dict[str, float]:
    """Return the factor of each column: the one in its name, else those with the most usual sizes and ratio D/N."""
    named = {name: [one for one in FACTORS if re.search(_NAMED[one], columns[name].lower())] for name in small}
    choices = [named[name] or list(FACTORS) for name in small]
    every = [dict(zip(small, combination, strict=True)) for combination in itertools.product(*choices)]
    middle = {name: float(np.exp(np.median(np.log(column)))) for name, column in inputs.items() if name in SMALLEST}
    return min(every, key=lambda factors: _oddity({name: at * factors.get(name, 1.0) for name, at in middle.items()}))


def _oddity(middle: Mapping[str, float]) -> float:
    """Return how unusual these sizes are, in decades."""
    n, d = middle.get("N"), middle.get("D", middle.get("U"))
    away = max(0.0, np.log10(USUAL_N[0] / n), np.log10(n / USUAL_N[1])) if n else 0.0
    return float(away + (abs(np.log10(d / n / USUAL_RATIO)) if n and d else 0.0))
