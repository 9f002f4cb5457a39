"""Formulas in sweep files: those at a key of the file, and the names in them that nothing defines."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.formula import Formula, parse


def read(path: str, texts: Iterable[str], faults: list[str]) -> tuple[Formula, ...]:
    """Return the formulas at this key of a sweep file; append to ``faults`` what is not accepted in the others."""
    found = []
    for text in texts:
        try:
            found.append(parse(text))
        except InputError as error:
            faults.extend(f"{path}: {fault}" for fault in error.faults)
    return tuple(found)


def undefined(path: str, formula: Formula, known: Collection[str], possible: Collection[str] = ()) -> list[str]:
    """Return a fault if the formula at this key of a sweep file reads a name that is neither ``known`` nor ``possible``
    (known in some sweeps).
    """
    if not (unknown := sorted(formula.names - {*known, *possible})):
        return []
    listed = f"{nearest(unknown[0], [*known, *possible])} (known: {', '.join(sorted(known))})"
    return [f"{path}: {shown(formula.text)} uses {', '.join(unknown)}, which is not defined{listed}"]
