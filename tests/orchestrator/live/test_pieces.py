"""What the parts of a live page say of a store planted by hand: cells, what runs, failures, the table, a curve."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables.families import Axes
from sweeplaw.orchestrator.launch.failures import Failure
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.live import pieces, trial_page
from sweeplaw.orchestrator.live.cells import cells, runs
from sweeplaw.orchestrator.live.overview import Overview, running_cells
from sweeplaw.orchestrator.live.trial_table import Asked, matching, trial_table
from sweeplaw.orchestrator.monitor.status import Progress
from sweeplaw.orchestrator.monitor.trial_view import AttemptLog, TrialView
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.trials.errors import InputError

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
BY = Axes("params", "tokens", "val_loss", (), ("lr", "batch"))
ROWS = pl.DataFrame(
    [  # id, N, D, lr, batch, state, final, loss, seconds
        ("a", 10, 100, 0.1, 8, "completed", True, 3.0, 5.0),
        ("b", 10, 100, 0.2, 8, "completed", True, 2.0, 4.0),
        ("c", 10, 100, 0.4, 8, "diverged", True, None, 3.0),
        ("d", 10, 100, 0.1, 8, "failed", False, 1.0, 2.0),
        ("e", 20, 100, 0.1, 8, "failed", True, None, 1.0),
        ("f", 20, 200, 0.1, 8, "completed", True, float("inf"), None),
    ],
    ["trial_id", "params", "tokens", "lr", "batch", "state", "final", "val_loss", "train_seconds"],
    orient="row",
)
NOTHING = Progress({}, 0, None, None, 0, 0, (), {}, (), (), None, None, None, Usage(), ())


def overview(rows: pl.DataFrame = ROWS, by: Axes | None = BY, **progress: Any) -> Overview:
    return Overview("s", "mine", NOW, rows, replace(NOTHING, **progress), by, None, ())


def launch(name: str, *points: Mapping[str, Any]) -> dict[str, Any]:
    return {"sweep": name, "points": list(points)}


LAUNCHES = (
    launch("x", {"params": 10, "tokens": 100, "trials": 99}),  # an earlier one of the sweep does not count
    launch("x", {"params": 10, "tokens": 100, "trials": 3}, {"params": 30, "tokens": 100, "trials": 4}),
    launch("y", {"params": 20, "tokens": 100, "trials": 2}, {"params": None, "tokens": 100, "trials": 7}),
    {"sweep": "z", "points": "none"},
)


def test_a_cell_has_what_was_planned_what_ended_and_its_best_setting() -> None:
    found = cells(ROWS, BY, LAUNCHES, open_=True, running=False)
    assert (found.keys, found.knobs) == (("params", "tokens"), ("lr", "batch"))
    columns = ["params", "tokens", "planned", "ended", "completed", "best", "lr", "batch", "complete"]
    assert found.frame.select(columns).rows() == [
        (10.0, 100.0, 3, 3, 2, 2.0, 0.2, 8, True),
        (20.0, 100.0, 2, 1, 0, None, None, None, False),
        (20.0, 200.0, None, 1, 1, None, None, None, False),
        (30.0, 100.0, 4, 0, 0, None, None, None, False),
    ]
    assert found.complete.rows() == [(10.0, 100.0)]


@pytest.mark.parametrize(("running", "complete"), [(False, [True] * 4), (True, [False] * 4)])
def test_where_every_planned_trial_has_ended_a_cell_is_complete_unless_a_search_goes_on(
    running: bool, complete: list[bool]
) -> None:
    frame = cells(ROWS, BY, LAUNCHES, open_=False, running=running).frame
    assert frame["complete"].to_list() == complete
    assert frame["planned"].to_list() == [3, 2, 1, 4]


def test_a_narrower_plan_counts_no_fewer_trials_than_have_ended() -> None:
    narrow = [launch("x", {"params": 10, "tokens": 100, "trials": 1})]
    assert cells(ROWS, BY, narrow, open_=True, running=False).frame["planned"][0] == 3


def test_excluded_rows_and_scores_of_models_are_no_runs() -> None:
    rows = pl.DataFrame({"state": ["completed", "excluded", "completed"], "workload": [None, None, "evaluation"]})
    assert runs(rows).rows() == [("completed", None)]


def test_the_bar_has_the_share_of_each_outcome_and_of_what_runs() -> None:
    states = {"completed": 4, "diverged": 1, "failed": 1, "stopped": 1, "out_of_memory": 1, "preempted": 9}
    rows = pl.DataFrame({"final": [True] * 8})
    shown, total = pieces._shares(overview(rows, states=states, missing=8, running=3))
    assert (shown, total) == ([("c", 25.0), ("d", 25.0), ("r", 18.75)], 16)
    assert pieces._shares(overview(rows.clear(), states={}, missing=None)) == ([], 1)
    assert pieces._shares(overview(rows, states={"completed": 8}, missing=None)) == ([("c", 100.0)], 8)


def test_a_law_that_is_not_there_yet_is_awaited_for_what_is_true() -> None:
    assert pieces._awaited(overview(states={"failed": 2})) == "It appears when the first trials have completed."
    assert pieces._awaited(overview(states={"completed": 2})) == "It is being fitted, and appears here."


def pack(trial: str, minutes: int, left: int = 1, step: int | None = 120, host: str | None = "h", **about: Any) -> Any:
    at = NOW - dt.timedelta(minutes=minutes)
    return RunningPack(f"p{trial}", "L", host, 1.0, at, at, left, {trial: step}, about)


def test_what_runs_has_its_setting_its_progress_and_the_time_left() -> None:
    known: dict[str, Any] = {"params": 2e9, "tokens": 3e10, "lr": 0.003, "other": 1, "steps": 400}
    found = overview(
        packs=(pack("late", 1, step=None, host=None), pack("early", 3, 4, **known), pack("over", 2, steps=60))
    )
    early, over, late = pieces._running(found)
    assert early == {
        "trial": "early", "host": "h", "step": 120, "steps": 400, "share": 0.3, "seconds": 180.0, "left": 420.0,
        "setting": "2\xa0B · 30\xa0B · lr 0.003", "more": 3,
    }  # fmt: skip
    assert (over["share"], over["left"], over["more"]) == (1.0, 0.0, 0)
    assert late == {
        "trial": "late", "host": "its worker is starting", "step": None, "steps": None, "share": None,
        "seconds": 60.0, "left": None, "setting": "", "more": 0,
    }  # fmt: skip
    many = overview(packs=tuple(pack(str(number), number) for number in range(13)), by=None)
    assert [row["trial"] for row in pieces._running(many)] == [str(number) for number in range(12, 0, -1)]
    assert running_cells(found) == {(2e9, 3e10): 1}
    assert running_cells(many) == {}


def test_failures_are_sorted_by_their_number_and_diverged_trials_say_where() -> None:
    reasons = tuple(Failure(f"r{number}", 10 - number, f"t{number}") for number in range(9))
    rows = pl.concat([ROWS, *[ROWS.filter(state="diverged")] * 4])
    found = pieces._failures(overview(rows, failures=reasons))
    assert [(count, what) for count, what, _, _ in found] == [
        (10, "r0"), (9, "r1"), (8, "r2"), (7, "r3"), (6, "r4"), (5, "r5"), (5, "diverged"), (4, "r6"), (3, "r7")
    ]  # fmt: skip
    assert found[6] == (5, "diverged", "all at lr 0.4", "c")
    everywhere = ROWS.with_columns(state=pl.lit("diverged"))
    assert pieces._failures(overview(everywhere)) == [(6, "diverged", "", "a")]
    half = ROWS.with_columns(state=pl.when(pl.col("lr") > 0.1).then(pl.lit("diverged")).otherwise("state"))
    assert pieces._failures(overview(half))[0][2] == "all at lr 0.2 or 0.4"
    assert pieces._failures(overview(ROWS.clear())) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "not a number"),
        (2048, "2,048"),
        (0.00312, "0.00312"),
        (True, "True"),
        ("adamw", "adamw"),
    ],
)
def test_a_value_is_shown_as_people_read_it(value: Any, text: str) -> None:
    assert pieces._value(value) == text


def test_pieces_that_have_not_changed_are_not_sent_again() -> None:
    first = pieces.Pieces({"a": "1", "b": "2"})
    assert first.changed({}) == {"a": "1", "b": "2"}
    assert pieces.Pieces({"a": "1", "b": "3", "c": "4"}).changed(first.digests()) == {"b": "3", "c": "4"}
    assert len({pieces.digest(text) for text in "abc"}) == 3


def ids(asked: Asked, rows: pl.DataFrame = ROWS) -> list[str]:
    return [row["trial_id"] for row in trial_table(overview(), rows, asked).rows]


def test_the_table_is_sorted_either_way_with_unknown_values_last() -> None:
    assert ids(Asked()) == ["d", "b", "a", "f", "c", "e"]
    assert ids(Asked(sort="-val_loss")) == ["f", "a", "b", "d", "c", "e"]
    assert ids(Asked(sort="lr")) == ["a", "d", "e", "f", "b", "c"]
    assert ids(Asked(sort="-train_seconds")) == ["a", "b", "c", "d", "e", "f"]
    unknown = trial_table(overview(), ROWS, Asked(sort="nonsense"))
    assert unknown.asked.sort == "val_loss"
    assert unknown.columns == ("state", "params", "tokens", "lr", "batch", "val_loss", "train_seconds")


def test_a_page_has_forty_trials_and_the_last_one_the_rest() -> None:
    rows = pl.concat([ROWS.head(1).with_columns(trial_id=pl.lit(f"{n:03}"), val_loss=float(n)) for n in range(81)])
    found = [trial_table(overview(), rows, Asked(page=page)) for page in (1, 2, 3, 4)]
    assert [(len(one.rows), one.pages, one.count, one.asked.page) for one in found] == [
        (40, 3, 81, 1), (40, 3, 81, 2), (1, 3, 81, 3), (1, 3, 81, 3)
    ]  # fmt: skip
    assert [row["trial_id"] for one in found[:3] for row in one.rows] == [f"{n:03}" for n in range(81)]
    assert trial_table(overview(), rows.head(80), Asked()).pages == 2
    empty = trial_table(overview(), rows.clear(), Asked(page=2))
    assert (empty.rows, empty.pages, empty.asked.page) == ((), 1, 1)


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({}, Asked()),
        ({"page": "0", "sort": "", "where": "  "}, Asked()),
        ({"page": "12345678"}, Asked(page=12345678)),
        ({"page": "123456789"}, Asked()),
        ({"page": "²"}, Asked()),
        ({"page": "-3"}, Asked()),
        ({"where": " lr < 1 ", "sort": "-lr", "page": "2"}, Asked("lr < 1", "-lr", 2)),
        ({"where": "x" * 2001}, Asked("x" * 2001)),
    ],
)
def test_an_address_asks_for_a_page_of_trials(query: Mapping[str, str], asked: Asked) -> None:
    assert Asked.of(query) == asked


def test_a_condition_that_is_too_long_is_refused_and_not_cut() -> None:
    whole = "lr > 0" + " OR lr > 0.1 AND lr < 0.2" * 90
    with pytest.raises(InputError, match=r"WHERE has 2,256 characters \(accepted: at most 2,000\)"):
        matching(overview(), whole)


def test_an_address_leaves_out_what_is_as_by_default() -> None:
    assert Asked().address() == "?"
    assert Asked("a = 1", "lr", 2).address(page=1) == "?where=a+%3D+1&sort=lr"
    assert Asked(page=2).address(sort="-lr") == "?sort=-lr&page=2"


def test_a_condition_narrows_the_rows() -> None:
    assert matching(overview(), "") is ROWS
    assert matching(overview(), "lr > 0.15")["trial_id"].to_list() == ["b", "c"]


def test_a_trial_page_has_its_facts_in_words() -> None:
    row = {"val_loss": 2.5, "train_loss": 2.123456, "params": 3, "tokens": 7, "host": "h", "other": 1}
    assert trial_page._facts(row) == {
        "validation loss": "2.5000", "training loss": "2.1235", "parameters": 3, "D": 7, "host": "h"
    }  # fmt: skip


def test_a_log_is_cut_to_its_last_lines_and_controls_nothing() -> None:
    output = (
        b"".join(b"line %d\r\n" % number for number in range(61)) + b"\x1b]0;title\x07\x1b[31mred\x1b[0m 10%\r99%\x07\n"
    )
    found = trial_page._tail(AttemptLog("L", 2, 3, output))
    assert (found["attempt"], found["together"], found["before"], len(found["lines"])) == (2, 3, 2, 60)
    assert (found["lines"][0], found["lines"][-1]) == ("line 2", "99%\\x07")


def view(steps: int, **columns: Any) -> TrialView:
    curve = pl.DataFrame({"step": range(steps), **columns}) if steps else pl.DataFrame()
    return TrialView("t", {}, {}, pl.DataFrame(), curve, {})


def test_a_curve_says_where_it_ends_and_has_no_more_points_than_can_be_seen() -> None:
    found = trial_page.curve_card(view(4, train_loss=[9.0, 4.0, 3.0, 2.0], val_loss=[None, 5.0, None, 3.25]))
    assert found is not None
    assert (found.key, found.half) == ("curve", True)
    assert found.title == "The curve ends at validation 3.2500 and training 2.0000"
    assert (found.caption, found.alt) == ("3 points.", "Learning curve: validation 3.2500 and training 2.0000.")
    assert found.drawings[0].count("<circle") == 5
    assert "step 3: 3.2500" in found.drawings[0]
    long = trial_page.curve_card(view(1202, val_loss=[float(step) for step in range(1202)]))
    assert long is not None
    assert long.title == "The curve ends at validation 1201.0000"
    assert long.caption == "401 points."
    assert "<circle" not in long.drawings[0]
    assert trial_page.curve_card(view(1201, val_loss=[1.0] * 1201)).caption == "600 points."  # type: ignore[union-attr]
    for none in (view(0), view(2, val_loss=[1.0, 2.0]), view(3, val_loss=[1.0, float("nan"), 2.0]), view(5)):
        assert trial_page.curve_card(none) is None


@pytest.mark.parametrize(("points", "dots"), [(61, 60), (62, 0)])  # step 0 has none
def test_the_points_of_a_curve_are_marked_up_to_sixty(points: int, dots: int) -> None:
    found = trial_page.curve_card(view(points, val_loss=[9.0 - 0.1 * step for step in range(points)]))
    assert found is not None
    assert found.drawings[0].count("<circle") == dots
