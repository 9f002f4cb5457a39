"""When a launch whose trials fail stops, at each rule's boundary, and in which words."""

from __future__ import annotations

import pytest

from sweeplaw.orchestrator.launch.failures import FailureWatch
from sweeplaw.orchestrator.plan.limits import StopPolicy


def stopped(rule: str | float, states: str) -> tuple[int, str] | None:
    """Return after how many attempts (f: failed) the launch stops, and why."""
    watch = FailureWatch(StopPolicy(failures=rule))
    for number, state in enumerate(states, start=1):
        if why := watch.ended({"f": "failed", "c": "completed", "d": "diverged"}[state]):
            return number, why
    return None


@pytest.mark.parametrize(
    ("rule", "states", "expected"),
    [
        ("first 3", "fff", (3, "the first 3 attempts that ended have all failed (stop.failures = 'first 3')")),
        ("first 3", "ff", None),
        ("first 3", "cfffff", None),
        ("first 3", "ffdfff", None),
        ("3 in a row", "ffcfff", (6, "3 attempts in a row have failed (stop.failures = '3 in a row')")),
        ("3 in a row", "ffcffcff", None),
        (0.5, "ffffcccccf", (10, "5 of 10 attempts that ended have failed (stop.failures = 0.5)")),
        (0.5, "fffffffff", None),  # fewer than ten have ended
        (0.5, "ffffcccccccf", None),  # 5 of 12
        (0.5, "ffffccccccff", (12, "6 of 12 attempts that ended have failed (stop.failures = 0.5)")),
        ("never", "f" * 100, None),
    ],
)
def test_a_rule_holds_from_its_boundary_on(rule: str | float, states: str, expected: tuple[int, str] | None) -> None:
    assert stopped(rule, states) == expected
