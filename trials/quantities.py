"""Recognize numbers, parse them, and format them for people."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeGuard

FACTORS: Mapping[str, float] = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether ``value`` is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(text: str) -> float:
    """Return the number written as ``7e9`` or ``7B``. Raise ValueError for anything else."""
    digits, factor = (text[:-1], FACTORS[text[-1]]) if text[-1:] in FACTORS else (text, 1.0)
    try:
        return float(digits) * factor
    except ValueError:
        raise ValueError(f"{text!r} is not a number (accepted: 7000000000, 7e9, 7B)") from None


def counted(number: int, thing: str) -> str:
    """Return a count with its noun: ``1 trial``, ``2,000 trials``."""
    return f"{number} {thing}" if number == 1 else f"{number:,} {thing}s"


def plain(value: object) -> str:
    """Format the value of a knob or an axis; floats have six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, object]) -> str:
    """Format settings: ``lr=0.001, optimizer=muon``."""
    return ", ".join(f"{name}={plain(value)}" for name, value in values.items())


def short(value: float) -> str:
    """Format a number in three digits, with a unit from a thousand to 10^15: ``214M``, ``0.003``, ``1.2e+18``."""
    try:
        rounded = float(f"{value:.3g}")  # 999,999,999 is 1B, not 1e+03M
    except OverflowError:  # a whole number beyond the doubles
        return f"{Decimal(value):.3g}"
    for power, unit in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        if 10**15 > abs(rounded) >= 10**power:
            return f"{rounded / 10**power:.3g}{unit}"
    return f"{value:.3g}"


def disk_size(count: int) -> str:
    """Format bytes: ``2,125.0 TB``, ``40.0 GB``, ``8.4 kB``, ``512 B``."""
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:,.1f} {unit}"
    return f"{count} B"


def percent(share: float, form: str = ".4g") -> str:
    """Format a share or a level in per cent, in four digits unless ``form`` says how: ``95 %``, ``99.9 %``."""
    return f"{100 * share:{form}} %"


def hours(value: float | None) -> str:
    """Format hours in the unit of their size: ``36 s``, ``90 min``, ``12.3 h``, ``1.5k h``; a dash if unknown."""
    if value is None:
        return "–"
    seconds = value * 3600
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{value:.1f} h" if value < 1000 else f"{short(value)} h"
