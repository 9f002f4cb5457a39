"""Numbers as people read them: units to 10^15, powers of ten beyond, and digits that the interval deserves."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

NARROW = "\N{NO-BREAK SPACE}"
UNBOUNDED = 1e4  # times the value: an end of an interval farther away says nothing
WIDE = 20.0  # high over low, from which an interval is given in two digits
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def raised(exponent: int) -> str:
    """Return a whole number as superscript characters."""
    return str(exponent).translate(_RAISED)


def fixed(value: float, digits: int) -> str:
    """Return ``value`` with this many significant digits, thousands in groups, no exponent and no negative zero."""
    if not value:
        return "0"
    rounded = float(f"{value:.{max(0, digits - 1)}e}")
    places = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{places}f}"


def people(value: float | None, digits: int = 3) -> str:
    """Return ``2.26 B``, ``0.003``, ``3.1 × 10²¹`` or a dash for an unknown value."""
    if value is None or not math.isfinite(value):
        return "–"
    rounded = float(f"{value:.{max(0, digits - 1)}e}")
    size = abs(rounded)
    if rounded and not 1e-4 <= size < 1e15:
        return power_of_ten(rounded, digits)
    for factor, unit in _UNITS:
        if size >= factor:
            return f"{_trimmed(rounded / factor, digits)}{NARROW}{unit}"
    return _trimmed(rounded, digits)


def power_of_ten(value: float, digits: int = 2) -> str:
    """Return ``10²¹`` or ``3 × 10²¹``."""
    mantissa, exponent = f"{value:.{max(0, digits - 1)}e}".split("e")
    head = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10{raised(int(exponent))}"
    return {"1": power, "-1": f"−{power}"}.get(head, f"{head}{NARROW}×{NARROW}{power}".replace("-", "−"))


def level(value: float | None) -> str:
    """Return the value of a knob: whole numbers below 10^5 in full, ``2,048``; others in three digits."""
    if value is not None and math.isfinite(value) and value == round(value) and abs(value) < 1e5:
        return f"{value:,.0f}".replace("-", "−")
    return people(value)


def level_form(levels: Iterable[float]) -> Callable[[float], str]:
    """Return what writes all of these levels of a knob in one form, whole numbers, units or powers of ten, and apart.

    So an axis has no 79,912 beside 128 k, and no 0.001 beside 10⁻⁵.
    """
    known = {value for value in levels if value and math.isfinite(value)}
    if all(value == round(value) and abs(value) < 1e5 for value in known):
        return level
    writes = people if all(1e-4 <= abs(value) < 1e15 for value in known) else _power_or_zero
    digits = next((k for k in range(3, 7) if len({writes(value, k) for value in known}) == len(known)), 3)

    def written(value: float) -> str:
        return writes(value, digits)

    written.__name__ = "people" if writes is people else power_of_ten.__name__  # by which the page's script zooms
    return written


def _power_or_zero(value: float | None, digits: int) -> str:
    return power_of_ten(value, digits) if value and math.isfinite(value) else people(value, digits)


def flops(value: float | None) -> str:
    """Return FLOPs as a power of ten in two digits; a dash if unknown."""
    return "–" if value is None else power_of_ten(value)


def without_e(text: str) -> str:
    """Return a text in which ``6e+20`` is ``6 × 10²⁰``."""
    return re.sub(r"\b(\d+(?:\.\d+)?)e([+-]\d+)\b", lambda found: power_of_ten(float(found[0])), text)


def places(value: float, count: int = 4) -> str:
    """Return a value with so many decimal places; one that these do not suit in as many digits."""
    return f"{value:.{count}f}" if not value or 0.1 <= abs(value) < 1e6 else people(value, count)


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share in per cent: ``0.8 %``; a dash if unknown."""
    return "–" if share is None or not math.isfinite(share) else f"{_trimmed(100 * share, digits)}{NARROW}%"


def estimate(
    value: float | None, low: float | None, high: float | None, *, identified: bool = True, units: bool = True
) -> tuple[str, str]:
    """Return a value and its interval as text, in the digits that the interval's half width to two digits leaves.

    An end that is unknown, or more than `UNBOUNDED` times away from the value, is ``unbounded``. An interval whose ends
    differ more than `WIDE`-fold has two digits. Without ``units``, 2,690 is not 2.69 k.
    """
    if value is None:
        return "–", ""
    if low is None and high is None:
        return people(value), "unbounded" if not identified else "no interval"
    far = [_far(end, value) for end in (low, high)]
    if any(far) or low is None or high is None or high == low:
        ends = ["unbounded" if away else people(end, 2) for end, away in zip((low, high), far, strict=True)]
        return people(value, 2 if any(far) else 3), f"{ends[0]} to {ends[1]}"
    if low > 0 and high / low > WIDE:
        return people(value, 2), f"{people(low, 2)} to {people(high, 2)}"
    return _in_step(value, low, high, units)


def _in_step(value: float, low: float, high: float, units: bool) -> tuple[str, str]:
    """Return all three with the decimal places of the half width in two digits, in the unit of the largest."""
    size = max(abs(value), abs(low), abs(high))
    factor, unit = next(((f, f"{NARROW}{u}") for f, u in _UNITS if units and size >= f), (1.0, ""))
    half = (high - low) / 2 / factor
    places = min(6, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else 3
    tens = 10.0 ** max(0, math.floor(math.log10(half)) - 1) if half > 0 else 1.0
    texts = [
        f"{round(number / factor / tens) * tens if places == 0 else number / factor:,.{places}f}".replace("-", "−")
        for number in (value, low, high)
    ]
    texts = [text.removeprefix("−") if not text.strip("−0.") else text for text in texts]
    return f"{texts[0]}{unit}", f"{texts[1]} to {texts[2]}{unit}"


def _far(end: float | None, value: float) -> bool:
    if end is None or not math.isfinite(end):
        return True
    return bool(value and end and not 1 / UNBOUNDED < abs(end / value) < UNBOUNDED)


def _trimmed(value: float, digits: int) -> str:
    text = fixed(value, digits)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")
