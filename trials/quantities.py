"""Numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping


def counted(number: int, thing: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def plain(value: object) -> str:
    """A value of a knob or an axis: floats in six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, object]) -> str:
    """``lr=0.001, optimizer=muon``."""
    return ", ".join(f"{name}={plain(value)}" for name, value in values.items())


def short(value: float) -> str:
    """A number in three digits, with a unit from a thousand to 10^15: ``214M``, ``0.003``, ``1.2e+18``."""
    rounded = float(f"{value:.3g}")  # 999,999,999 is 1B, not 1e+03M
    for power, unit in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        if 10**15 > abs(rounded) >= 10**power:
            return f"{rounded / 10**power:.3g}{unit}"
    return f"{value:.3g}"
