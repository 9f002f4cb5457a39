"""The size of a sweep, computed from its file before any value is built: what cannot be planned is refused at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeplaw.orchestrator.plan.axes import count
from sweeplaw.trials.errors import InputError

MOST_COMBINATIONS = 10_000_000  # of all axes, before `where`: minutes, and about 3 GB
MOST_GROUPS = 1_000_000  # of the axes whose knobs change the cost of a trial: as long, and as large
MOST_AXES = 1000  # and as many derived knobs

_LESS = "fewer values, a random search, or several sweep files, which may share a store"


def check(
    scientific: Mapping[str, Any],
    nuisance: Mapping[str, Any],
    zipped: Sequence[Mapping[str, Any]],
    seeds: int | list[int],
    samples: int | None,
    derived: int,
) -> None:
    """Raise InputError if these tables of a sweep file ask for more than can be planned.

    ``samples`` is the number of points of a random search, None for a grid, ``derived`` that of derived knobs.
    """
    if derived > MOST_AXES:
        raise InputError(f"{derived:,} derived knobs (accepted: at most {MOST_AXES:,})")
    sizes = {"scientific": _sizes("scientific", scientific, zipped), "nuisance": _sizes("nuisance", nuisance, zipped)}
    repeats = {"seeds": seeds if isinstance(seeds, int) else count(seeds)}
    if (axes := sum(map(len, sizes.values()))) > MOST_AXES:
        raise InputError(f"{axes:,} axes (accepted: at most {MOST_AXES:,})")
    if samples is None:
        refuse_more({**sizes["scientific"], **sizes["nuisance"], **repeats}, MOST_COMBINATIONS, "combinations")
        return
    refuse_more({"samples": samples, "nuisance axes": len(sizes["nuisance"])}, MOST_COMBINATIONS, "values")
    refuse_more({**sizes["scientific"], "samples": samples, **repeats}, MOST_COMBINATIONS, "combinations")


def refuse_more(factors: Mapping[str, int], most: int, what: str) -> None:
    """Raise InputError if the product of these factors exceeds ``most``."""
    if _exceeds(factors.values(), most):
        product = " x ".join(f"{name} {size:,}" for name, size in factors.items() if size > 1)
        raise InputError(f"{product}: more than {most:,} {what} (accepted: {_LESS})")


def _sizes(role: str, table: Mapping[str, Any], zipped: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of values of each axis of this role."""
    blocks = {
        f"zip[{index}]": max((count(raw) for name, raw in block.items() if name != "role"), default=1)
        for index, block in enumerate(zipped)
        if block.get("role") == role
    }
    return {**{f"{role}.{name}": count(raw) for name, raw in table.items()}, **blocks}


def _exceeds(factors: Iterable[int], most: int) -> bool:
    product = 1
    for factor in factors:
        product *= max(1, factor)
        if product > most:
            return True
    return False
