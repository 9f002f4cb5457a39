"""The device time of a launch in numbers and words."""

from __future__ import annotations

import pytest

from sweeplaw.orchestrator.schedule.device_time import Usage, total


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        (Usage(119.9), "119.9 s of device time, none of it wasted"),
        (Usage(120.0), "2.0 min of device time, none of it wasted"),
        (Usage(7200.0), "2.00 h of device time, none of it wasted"),
        (Usage(60.0, {"failed": 10.0, "node died": 30.0}, {"failed": 1, "node died": 2}),
         "100.0 s of device time, 40.0% of it wasted: 30.0 s node died (2x), 10.0 s failed (1x)"),
        (Usage(0.0, {"failed": 0.0}, {"failed": 1}), "0.0 s of device time, 0.0% of it wasted: 0.0 s failed (1x)"),
    ],
)  # fmt: skip
def test_device_time_in_a_sentence(usage: Usage, sentence: str) -> None:
    assert usage.sentence() == sentence


def test_device_time_of_several_launches_is_added_by_reason() -> None:
    one = Usage(1.0, {"failed": 2.0}, {"failed": 1})
    found = total([one, Usage(4.0, {"failed": 8.0, "node died": 16.0}, {"failed": 2, "node died": 1}), Usage()])
    assert found == Usage(5.0, {"failed": 10.0, "node died": 16.0}, {"failed": 3, "node died": 1})
    assert (found.wasted_seconds, found.device_seconds, total([])) == (26.0, 31.0, Usage())
