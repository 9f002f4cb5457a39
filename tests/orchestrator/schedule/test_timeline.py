"""The virtual clock of a simulated cluster, and values that are computed again for changed nodes only."""

from __future__ import annotations

from sweeplaw.orchestrator.schedule.per_node import PerNode
from sweeplaw.orchestrator.schedule.simulated.timeline import Timeline


def test_events_come_by_their_times_and_at_equal_times_as_they_were_planned() -> None:
    timeline, seen = Timeline(), list[tuple[str, float]]()

    def note(name: str) -> None:
        seen.append((name, timeline.clock()))

    assert timeline.clock() == 0
    timeline.after(3.0, lambda: note("late"))
    for name in ("first", "second", "third"):
        timeline.after(1.0, lambda name=name: note(name))  # type: ignore[misc]
    timeline.after(0.0, lambda: note("now"))
    while timeline.step():
        pass
    assert seen == [("now", 0), ("first", 1), ("second", 1), ("third", 1), ("late", 3)]
    assert not timeline.step()
    assert timeline.now == 3


def test_an_event_that_is_cancelled_takes_no_time_and_one_planned_meanwhile_counts_from_then() -> None:
    timeline, seen = Timeline(), list[float]()
    first = timeline.after(5.0, lambda: seen.append(-1))

    def plan_another() -> None:
        timeline.after(2.0, lambda: seen.append(timeline.now))

    timeline.after(2.0, plan_another)
    first.cancelled = True
    assert [timeline.step() for _ in range(3)] == [True, True, False]
    assert (seen, timeline.now) == ([4.0], 4.0)


def test_a_value_of_a_node_is_computed_when_it_is_asked_for_and_again_once_it_is_stale() -> None:
    asked: list[str] = []
    known: dict[str, int | None] = {"a": 1, "b": None}

    def compute(node: str) -> int | None:
        asked.append(node)
        return known[node]

    values = PerNode(compute, ["a", "b"])
    assert asked == []
    assert values.values() == {"a": 1}
    assert (values.values(), sorted(asked)) == ({"a": 1}, ["a", "b"])
    known.update(a=None, b=2, c=3)
    values.stale |= {"a", "b", "c"}
    assert values.values() == {"b": 2, "c": 3}
    assert len(asked) == 5
