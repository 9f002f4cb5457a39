"""The parameters that most laws have: coefficients of power laws, their exponents, and the irreducible loss."""

from __future__ import annotations

from sweeplaw.analysis.laws.law import MAX_EXPONENT, Param

IRREDUCIBLE = Param("E", "nats/token", start=(0.1, 4.0))


def coefficient(name: str, scale: str, unit: str) -> Param:
    """Return the coefficient of a term of the loss, whose start is a share of the loss at the centre of the rows."""
    return Param(name, unit=unit, scale=scale, start=(0.01, 10.0))


def exponent(name: str, low: float = 0.0) -> Param:
    """Return the exponent of a power law."""
    return Param(name, low=low, high=MAX_EXPONENT)


def slope(name: str, low: float, high: float, unit: str = "") -> Param:
    """Return a parameter of either sign, whose search begins between ``low`` and ``high``."""
    return Param(name, unit=unit, low=float("-inf"), start=(low, high))
