"""Every knob of our workloads, against `knobs.txt`: type, default, bounds, choices, whether it is of a member.

A default is part of what a sweep file means, and a bound of what it may ask for. Where one is meant to change,
`python -m tests.trials.workloads.test_knob_table` rewrites the file, whose diff is read. A knob added later never
changes its default: the ids of trials leave it out there (`test_spec.py`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeplaw.trials.spec import Knob
from sweeplaw.trials.workloads.registry import load

TABLE = Path(__file__).with_name("knobs.txt")
WORKLOADS = ("language_model", "modular_arithmetic", "ridge", "surrogate")


def described(knob: Knob) -> str:
    """Return a line on a knob, without its meaning."""
    given = "must be given" if knob.default is None else f"{knob.default!r}"
    words = [
        f"  {knob.name} ({knob.type}): {given}",
        f"{knob.low:.12g} to {knob.high:.12g}" if knob.type in ("int", "float") else "",
        f"one of {', '.join(knob.choices)}" if knob.choices else "",
        "of a member" if knob.member else "",
        f"since {knob.since}" if knob.since else "",
        knob.unit,
    ]
    return "; ".join(filter(None, words))


def table(name: str) -> str:
    """Return a line for each knob of a workload."""
    return "\n".join([name, *map(described, load(name).knobs)]) + "\n"


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_knobs_are_those_of_the_table(name: str) -> None:
    assert table(name) in TABLE.read_text(encoding="utf-8")


if __name__ == "__main__":
    TABLE.write_text("\n".join(map(table, WORKLOADS)), encoding="utf-8")
