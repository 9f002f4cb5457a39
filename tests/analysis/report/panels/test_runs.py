"""The cards of what happened: bars of trials over time on their slots, and the curves of the best."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.report.panels.runs import _clock, _time_unit, _worst, assign_lanes, curves_card, times_card
from sweeplaw.analysis.tables.families import Axes

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
BY = Axes("N", "D", "val_loss", (), (), units={"val_loss": "nats/token"})


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def trials(*rows: tuple[str, float, float, str, str], **more: Any) -> pl.DataFrame:
    """Return trials of (id, start, end, host, state)."""
    ids, starts, ends, hosts, states = zip(*rows, strict=True)
    times = {"started_at": [*map(at, starts)], "ended_at": [*map(at, ends)]}
    return pl.DataFrame({"trial_id": ids, **times, "host": hosts, "state": states, **more})


def test_a_bar_takes_the_lane_of_its_host_that_was_free_last() -> None:
    hosts = ["a", "a", "b", "a", "a", "b"]
    assert assign_lanes(hosts, [0, 0, 0, 5, 9, 5], [4, 5, 5, 8, 10, 6]) == [0, 1, 2, 1, 1, 2]
    assert assign_lanes(["a", "a"], [0, 3.9], [4, 5]) == [0, 1]


def test_the_time_on_slots_is_shown_with_what_was_lost() -> None:
    card = times_card(
        trials(
            ("t1", 0, 100, "h1", "completed"), ("t2", 100, 150, "h1", "diverged"),
            ("t3", 0, 200, "h2", "failed"), ("t4", 20, 70, "h1", "completed"),
        ), "k"
    )  # fmt: skip
    assert card is not None
    assert card.title.replace("\N{NO-BREAK SPACE}", " ") == "67 % of the slots' time went into trials"  # 400 of 600 s
    assert card.caption == "4 bars on 3 slots, from the first start to the last end."
    assert card.alt == "Times of 4 bars on 3 slots."
    assert card.sheet is not None
    assert card.sheet.heads == ("slot", "host", "pack", "start_seconds", "end_seconds", "trials", "state")
    assert {(row[2], row[0], row[3], row[4]) for row in card.sheet.rows} == {
        ("t1", 1, 0, 100), ("t3", 2, 0, 200), ("t4", 3, 20, 70), ("t2", 1, 100, 150),
    }  # fmt: skip
    drawn = card.drawings[0]
    for text in (
        "1 trial, completed, 0:01:40 on h1",
        "1 trial, diverged, 50.0 s on h1",
        "1 trial, failed, 0:03:20 on h2",
    ):
        assert f"<title>{text}</title>" in drawn
    assert [drawn.count(css) for css in ("r-completed", "r-diverged", "r-lost")] == [2, 1, 1]
    assert "minutes since the first start" in drawn


def test_trials_of_one_stack_are_one_bar_in_the_worst_of_their_states() -> None:
    rows = [("t1", 0, 10, "h", "completed"), ("t2", 5, 20, "h", "failed"), ("t3", 20, 30, "h", "completed")]
    card = times_card(trials(*rows, pack_id=["p", "p", None]), "k")
    assert card is not None
    assert card.sheet is not None
    assert card.sheet.rows == ((1, "h", "p", 0, 20, 2, "failed"), (1, "h", "t3", 20, 30, 1, "completed"))


def test_trials_one_after_another_are_bars_of_their_own_where_their_colours_differ() -> None:
    ends = ["completed", "completed", "failed", "out_of_memory", "diverged", "completed", "preempted"]
    rows = [(f"t{k}", 10.0 * k, 10.0 * k + 10, "h", state) for k, state in enumerate(ends)]
    card = times_card(trials(*rows, pack_id=["p"] * len(ends)), "k")
    assert card is not None
    assert card.sheet is not None
    assert [row[3:] for row in card.sheet.rows] == [
        (0, 20, 2, "completed"), (20, 40, 2, "failed"), (40, 50, 1, "diverged"), (50, 70, 2, "completed"),
    ]  # fmt: skip
    assert {row[0] for row in card.sheet.rows} == {1}
    assert "that end alike" in card.subtitle


def test_too_many_parts_of_packs_are_packs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeplaw.analysis.report.panels.runs.MOST_BARS", 3)
    rows = [(f"t{k}", 10.0 * k, 10.0 * k + 10, "h", ("completed", "failed")[k % 2]) for k in range(6)]
    card = times_card(trials(*rows, pack_id=["p"] * 3 + ["q"] * 3), "k")
    assert card is not None
    assert card.sheet is not None
    assert [row[2:] for row in card.sheet.rows] == [("p", 0, 30, 3, "failed"), ("q", 30, 60, 3, "failed")]
    assert "a pack of trials, in the colour of the worst" in card.subtitle


def test_without_times_or_with_one_bar_there_is_no_card() -> None:
    two = trials(("t1", 0, 10, "h", "completed"), ("t2", 10, 20, "h", "completed"))
    assert times_card(two, "k") is not None
    assert times_card(two.head(1), "k") is None
    assert times_card(two.clear(), "k") is None
    assert times_card(two.drop("ended_at"), "k") is None
    assert times_card(two.with_columns(started_at=pl.lit("soon")), "k") is None
    many = trials(*((f"t{k}", 0, 10, f"h{k}", "completed") for k in range(49)))
    assert times_card(many, "k") is None
    assert times_card(many.head(48), "k") is not None


@pytest.mark.heavy
def test_of_more_than_three_thousand_bars_there_is_no_card() -> None:
    rows = trials(*((f"t{k}", k, k + 1, "h", "completed") for k in range(3_001)))
    assert times_card(rows, "k") is None
    card = times_card(rows.head(3_000), "k")
    assert card is not None
    assert card.sheet is not None
    assert len(card.sheet.rows) == 3_000


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["completed", "diverged"], "diverged"), (["diverged", "out_of_memory"], "out_of_memory"),
        (["stopped"], "stopped"), (["", "completed"], "unknown"),
    ],
)  # fmt: skip
def test_the_worst_state_of_a_pack(states: list[str], worst: str) -> None:
    assert _worst(states) == worst


def test_times_are_in_a_unit_that_people_read() -> None:
    assert [_time_unit(seconds)[1] for seconds in (179, 180, 10_799, 10_800)] == [
        "seconds", "minutes", "minutes", "hours",
    ]  # fmt: skip
    assert [_time_unit(seconds)[0] for seconds in (1, 600, 20_000)] == [1, 60, 3600]
    assert [_clock(seconds) for seconds in (59.94, 60, 3725.4)] == ["59.9 s", "0:01:00", "1:02:05"]


def curves(**columns: Any) -> pl.DataFrame:
    base: dict[str, Any] = {
        "trial_id": ["a", "a", "b", "b", "other"], "step": [1, 2, 1, 2, 1], "tokens": [10, 20, 10, 20, 10],
        "val_loss": [4.0, 3.0, 3.5, 2.5, 1.0], "train_loss": [4.1, 3.1, 3.6, 2.6, 1.1],
    }  # fmt: skip
    return pl.DataFrame({**base, **columns})


def test_the_curves_of_the_best_trials_end_in_a_mark_with_their_loss() -> None:
    card = curves_card(curves(), {"a": "1 M", "b": "4 M"}, BY, "k")
    assert card is not None
    assert card.title == "The best trial of each size ends between 3 and 2.5"
    assert card.subtitle == "Validation loss, each size at its largest budget."
    assert card.caption == "4 points. The highest losses, at the beginning, may lie above the frame."
    assert card.alt == "Learning curves of 2 trials."
    assert card.sheet is not None
    assert card.sheet.heads == ("trial_id", "tokens", "val_loss")
    assert len(card.sheet.rows) == 4
    for text in ("1 M: 3.0000", "4 M: 2.5000"):
        assert card.drawings[0].count(text) == 1
    assert "training tokens" in card.drawings[0]


def test_training_losses_and_steps_stand_in_where_there_is_nothing_else() -> None:
    card = curves_card(
        curves(val_loss=[None, 3.0, None, 2.5, None], tokens=[None] * 5), {"a": "1 M", "b": "4 M"}, BY, "k"
    )
    assert card is not None
    assert card.subtitle.startswith("Training loss")
    assert card.sheet is not None
    assert card.sheet.heads == ("trial_id", "step", "train_loss")
    assert curves_card(curves().filter(pl.col("step") == 1), {"a": "1 M", "b": "4 M"}, BY, "k") is None
    assert curves_card(curves(), {"none": "1 M"}, BY, "k") is None
