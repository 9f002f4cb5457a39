"""The device time of a launch in numbers and words."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from sweeplaw.orchestrator.launch import usage as usage_file
from sweeplaw.orchestrator.schedule.device_time import REMEMBERED, Meter, Usage, WastedWork, total
from sweeplaw.orchestrator.store.store import Store


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        (Usage(119.9), "119.9 s of device time, none of it wasted"),
        (Usage(120.0), "2.0 min of device time, none of it wasted"),
        (Usage(7200.0), "2.00 h of device time, none of it wasted"),
        (Usage(60.0, {"failed": 10.0, "node died": 30.0}, {"failed": 1, "node died": 2}),
         "100.0 s of device time, 40.0 % of it wasted: 30.0 s node died (2x), 10.0 s failed (1x)"),
        (Usage(0.0, {"failed": 0.0}, {"failed": 1}), "0.0 s of device time, 0.0 % of it wasted: 0.0 s failed (1x)"),
    ],
)  # fmt: skip
def test_device_time_in_a_sentence(usage: Usage, sentence: str) -> None:
    assert usage.sentence() == sentence


def test_device_time_of_several_launches_is_added_by_reason() -> None:
    one = Usage(1.0, {"failed": 2.0}, {"failed": 1})
    found = total([one, Usage(4.0, {"failed": 8.0, "node died": 16.0}, {"failed": 2, "node died": 1}), Usage()])
    assert found == Usage(5.0, {"failed": 10.0, "node died": 16.0}, {"failed": 3, "node died": 1})
    assert (found.wasted_seconds, found.device_seconds, total([])) == (26.0, 31.0, Usage())


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_a_loss_without_a_reason_counts_in_all_and_under_no_reason_until_it_is_settled() -> None:
    meter = Meter()
    meter.used(3.0)
    meter.used(4.0)
    known = WastedWork("p", ("a",), 2.0, "failed", NOW, saved=True, step=7)
    open_ = WastedWork("q", ("b", "c"), 10.0, None, NOW)
    meter.lost(known)
    meter.lost(open_)
    assert (meter.device_seconds, meter.usage(), meter.latest()) == (
        19.0, Usage(7.0, {"failed": 2.0}, {"failed": 1}), (known,)
    )  # fmt: skip
    meter.settle(open_, "node died")
    assert meter.device_seconds == 19.0
    assert meter.usage() == Usage(7.0, {"failed": 2.0, "node died": 10.0}, {"failed": 1, "node died": 1})
    assert meter.latest() == (known, WastedWork("q", ("b", "c"), 10.0, "node died", NOW))
    for number in range(REMEMBERED):
        meter.lost(WastedWork(str(number), (), 0.5, "failed", NOW))
    assert [loss.pack_id for loss in meter.latest()] == [str(number) for number in range(REMEMBERED)]
    assert meter.usage().wasted["failed"] == 2.0 + 0.5 * REMEMBERED


def test_the_device_time_of_a_launch_is_kept_and_closed_once(store: Store) -> None:
    meter = Meter()
    meter.used(3.0)
    meter.lost(WastedWork("p", ("a",), 2.0, "failed", NOW, saved=True, step=7))
    usage_file.publish(store.location, "one", "mine", meter)
    content = json.loads(Path(store.location.path("usage/one.json")).read_text())
    kept = {name: value for name, value in content.items() if not name.startswith("sweeplaw.")}  # checksums
    assert kept == {
        "sweep": "mine", "useful": 3.0, "wasted": {"failed": 2.0}, "losses": {"failed": 1},
        "latest": [{"pack_id": "p", "trials": ["a"], "device_seconds": 2.0, "reason": "failed", "at": NOW.isoformat(),
                    "saved": True, "step": 7}],
    }  # fmt: skip
    for seconds in (5.0, 9.0):
        usage_file.close(store.location, "one", seconds, 2)
    usage_file.close(store.location, "two", 1.0, 1)
    one = Usage(3.0, {"failed": 2.0, "launcher died": 5.0}, {"failed": 1, "launcher died": 2})
    two = Usage(0.0, {"launcher died": 1.0}, {"launcher died": 1})
    assert usage_file.load(store.location) == {"one": one, "two": two}
    assert usage_file.load(store.location, "mine") == {"one": one}


@pytest.mark.parametrize("useful", ["-1", "true", '"3"', "1e999", "NaN", "null"])
def test_a_file_without_a_number_of_seconds_is_damage(useful: str, store: Store) -> None:
    folder = Path(store.location.path("usage"))
    folder.mkdir(exist_ok=True)
    (folder / "one.json").write_text(f'{{"sweep": "mine", "useful": {useful}}}')
    faults: list[str] = []
    assert usage_file.load(store.location, None, faults) == {}
    assert len(faults) == 1
    assert "usage/one.json" in faults[0]
