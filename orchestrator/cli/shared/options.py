"""Parse options that hold lists, pairs, numbers and ranges."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from sweeplaw.trials import quantities
from sweeplaw.trials.errors import InputError

MOST_DRAWS = 100_000  # of an option that counts draws, resamples or simulated sets: more only takes time


def number(text: str) -> float:
    """Return the number in an option, such as ``7e9`` or ``7B``. Raise typer.BadParameter."""
    try:
        return quantities.number(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def names(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated option."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def pairs(texts: Sequence[str] | None, option: str, default_name: str | None = None) -> dict[str, str]:
    """Return ``NAME=VALUE`` options as a mapping; a text without = is the value of ``default_name``.

    Raise InputError for a text without a name or a value, or a name given twice.
    """
    split = [text.split("=", 1) if "=" in text else [default_name or "", text] for text in texts or ()]
    faults = [
        f"{option} {text!r} (accepted: NAME=VALUE)"
        for text, part in zip(texts or (), split, strict=True)
        if not all(part)
    ]
    given = [name for name, _ in split]
    faults += [f"{option} gives {name} twice" for name in sorted(set(given)) if name and given.count(name) > 1]
    if faults:
        raise InputError(faults)
    return {name.strip(): value.strip() for name, value in split}


def numbers(values: dict[str, str], option: str) -> dict[str, float]:
    """Return these ``NAME=NUMBER`` options as numbers. Raise InputError."""
    found, faults = {}, []
    for name, value in values.items():
        try:
            found[name] = float(value)
        except ValueError:
            faults.append(f"{option} {name}={value}: {value!r} is not a number")
    if faults:
        raise InputError(faults)
    return found


def ranges(values: dict[str, str], option: str) -> dict[str, tuple[float | None, float | None]]:
    """Return these ``NAME=LOW:HIGH`` options as (low, high); None where a side is empty. Raise InputError."""
    found, faults = {}, []
    for name, text in values.items():
        try:
            low, high = (float(side) if side else None for side in text.split(":", 1))
            found[name] = low, high
        except ValueError:
            faults.append(f"{option} {name}={text} (accepted: NAME=LOW:HIGH, either side may be empty)")
    if faults:
        raise InputError(faults)
    return found
