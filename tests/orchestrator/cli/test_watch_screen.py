"""The screen of `sweeplaw watch` to the letter, of a store planted by hand, in terminals of any height."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sweeplaw.orchestrator.cli.pages import watch, watch_screen
from sweeplaw.orchestrator.launch.failures import Failure
from sweeplaw.orchestrator.live.cells import CellProgress
from sweeplaw.orchestrator.live.followed import FollowedStore
from sweeplaw.orchestrator.live.law import law_so_far
from sweeplaw.orchestrator.live.overview import Observer, Overview
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.trials.store_format.search_state import SearchState
from tests.orchestrator.live.stores import launched
from tests.orchestrator.live.test_pieces import BY, NOTHING, NOW, pack

CELLS = pl.DataFrame(
    [
        (1e6, 1e9, 4, 4, 2.51234, 0.003, True),
        (2e6, 1e9, 4, 3, 2.4, 2048.0, False),
        (3e6, 1e9, 10, 1, None, None, False),
        (4e6, 1e9, None, 7, 2.25, 0.01, False),
        (5e6, 1e9, 4, 0, None, None, False),
        (6e6, 1e9, 4, 0, None, None, False),
    ],
    ["params", "tokens", "planned", "ended", "best", "lr", "complete"],
    orient="row",
)
KNOWN: dict[str, Any] = {"params": 2e6, "tokens": 1e9, "lr": 0.004}
PACKS = (pack("third", 1, step=None, host=None), pack("first", 3, **KNOWN, steps=400), pack("second", 2, **KNOWN))
SEEN: dict[str, Any] = {
    "states": {"completed": 12, "failed": 3},
    "missing": 25,
    "claimed": 8,
    "running": 3,
    "packs": PACKS,
    "rate": 0.25,
    "seconds_left": 100.0,
    "best_loss": 2.25,
    "usage": Usage(60.0),
    "faults": ("a file\x1b[2J",),
    "failures": (Failure("no disk", 3, "abc"),),
    "searches": (SearchState("mine", "law", "val_loss", False, 1, 1, {}, "", ""),),
}


def overview(cells: pl.DataFrame | None = CELLS, **changed: Any) -> Overview:
    progress = dataclasses.replace(NOTHING, **{**SEEN, **changed})
    rows = pl.DataFrame({"final": [True] * 15})
    known = None if cells is None else CellProgress(("params", "tokens"), ("lr",), cells)
    by = dataclasses.replace(BY, knobs=("lr",))
    return Overview("store", "mine", NOW, rows, progress, by, known, (), "no trial has completed yet")


def lines(found: Overview, height: int | None = None) -> list[str]:
    return watch._text(watch_screen.screen(found, None, "12:00:00", height)).replace("\xa0", " ").splitlines()


def test_the_whole_screen_of_a_launch_that_runs() -> None:
    assert [" ".join(line.split()) for line in lines(overview())] == [
        "mine running store at 12:00:00",
        "15 of 40 ended · 3 running · 8 claimed · 3 failed · 15.0/min · 100 s left · best loss 2.2500",
        "60.0 s of device time, none of it wasted",
        "law search of mine: 1 proposal, 1 setting known; budget left: not bounded",
        "",
        "cells 1 of 6 complete",
        "N D ended best loss lr",
        "1 M 1 B 4 of 4 ██████████ 2.5123 0.003 complete",
        "2 M 1 B 3 of 4 ████████ 2.4000 2,048 2 running",
        "3 M 1 B 1 of 10 █ – – open",
        "4 M 1 B 7 2.2500 0.01 open",
        "5 M 1 B 0 of 4 – – open",
        "6 M 1 B 0 of 4 – – open",
        "",
        "running 3 packs",
        "trial host setting step for",
        "first h N 2 M, D 1 B, lr 0.004 120 of 400 180 s",
        "second h N 2 M, D 1 B, lr 0.004 120 120 s",
        "third starting – 60 s",
        "",
        "why trials failed",
        "3 no disk",
        "sweeplaw show store abc",
        "damaged: a file\\x1b[2J",
    ]


@pytest.mark.parametrize(
    ("height", "cells", "packs"),
    [(None, 6, 3), (10, 4, 2), (26, 4, 2), (27, 5, 2), (28, 6, 2), (29, 6, 2), (30, 6, 3)],
)
def test_a_low_terminal_shows_cells_in_work_and_the_oldest_packs(height: int | None, cells: int, packs: int) -> None:
    shown = lines(overview(), height)
    rows = [line.split()[0] for line in shown if " 1 B " in line and " M " in line and "N " not in line]
    assert rows == ["1", "2", "3", "4", "5", "6"][:cells]
    assert sum(line.startswith(("first", "second", "third")) for line in shown) == packs
    assert ("  and 1 more cell" in shown, "  and 2 more cells" in shown) == (cells == 5, cells == 4)
    assert ("  and 1 more pack" in shown) == (packs == 2)


def test_a_launch_that_is_over_or_never_was_has_no_pace() -> None:
    over = overview(
        None, running=0, claimed=0, packs=(), missing=0, failures=(), faults=(), searches=(), best_loss=None
    )
    assert [" ".join(line.split()) for line in lines(over)] == [
        "mine finished store at 12:00:00",
        "15 of 15 ended · 0 running · 3 failed",
        "60.0 s of device time, none of it wasted",
        "cells: no trial has completed yet",
    ]
    waits = lines(overview(None, running=0, claimed=0, packs=()))
    assert " ".join(waits[0].split()) == "mine no launch runs store at 12:00:00"
    unplanned = lines(overview(missing=None, rate=1.0, seconds_left=None))
    assert unplanned[1] == "15 ended · 3 running · 8 claimed · 3 failed · 1.0/s · best loss 2.2500"


def test_a_store_that_is_away_is_one_line() -> None:
    text = watch._text(watch_screen.unseen("gone\x1b[2J", "12:00:00"))
    assert text == "gone\\x1b[2J, at 12:00:00; retrying\n"


@pytest.mark.heavy
def test_a_low_terminal_shows_failures_damage_and_verdicts_before_more_of_the_law(tmp_path: Path) -> None:
    store = launched(tmp_path / "s")
    seen = Observer(FollowedStore(store.location.uri)).look()
    law = law_so_far(seen)
    failed = dataclasses.replace(seen.progress, failures=(Failure("no disk", 3, "abc"),), faults=("a file",))
    found = dataclasses.replace(seen, progress=failed)

    def shown(height: int) -> list[str]:
        return watch._text(watch_screen.screen(found, law, "12:00:00", height)).splitlines()

    low, tall = shown(24), shown(watch_screen.TALL)
    assert len(low) <= 25
    for text in (low, tall):
        places = [next(k for k, line in enumerate(text) if word in line) for word in ("why", "damaged", "Optimum")]
        assert places == sorted(places)
    assert sum(line.startswith("  E ") and ", alpha 0." in line for line in low) == 1
    assert any(" to " in line for line in tall)
    assert len(tall) > len(low)
