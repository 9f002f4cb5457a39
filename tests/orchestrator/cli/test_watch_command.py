"""What `sweeplaw watch` prints where there is no terminal, and how it ends."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.pages.watch_screen import safe
from sweeplaw.orchestrator.launch import published_packs
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.store import claims, clocks
from sweeplaw.orchestrator.store.store import Store
from tests.conftest import make_record
from tests.orchestrator.live.stores import launched, partly_run

pytestmark = pytest.mark.heavy


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between looks; the third is interrupted. A look waits for its law as long as a busy machine takes."""
    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.watch.LAW_SECONDS", 60.0)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.watch.time.sleep", sleep)
    return waited


def watched(store: Store, *words: str) -> list[str]:
    """Return the texts that are printed until the interrupt."""
    result = CliRunner().invoke(app, ["watch", store.location.uri, *words])
    assert result.exit_code == 130, result.output
    return result.stdout.removesuffix("\n\n").split("\n\n\n") if "\n\n\n" in result.stdout else [result.stdout]


def test_a_text_is_printed_at_each_look_until_an_interrupt(tmp_path: Path, looks: list[float]) -> None:
    store = launched(tmp_path / "s")
    text = "\n".join(watched(store, "60"))
    assert looks == [60.0, 60.0, 60.0]
    assert len(re.findall(r"^live  finished  \S+ at \d\d:\d\d:\d\d$", text, re.MULTILINE)) == 3
    assert text.count("288 of 288 ended · 0 running · best loss ") == 3
    assert text.count("cells  12 of 12 complete") == 3
    assert text.count("law so far  from 12 of 12 cells, those that are complete") == 3
    assert "24 of 24  ██████████" in text
    assert "\x1b" not in text


def test_running_trials_and_open_cells_are_shown_with_their_settings(tmp_path: Path, looks: list[float]) -> None:
    store = partly_run(tmp_path / "s", 0.5)
    now = clocks.store_time(store.location)
    missing = sorted({*store_plan(store)} - {*store.finished()})
    claims.claim(store.location, missing[:5], "99990101T000000-whole", 60)
    about = {"params_non_embedding": 1e9, "tokens": 1e11, "lr": 0.003, "batch_sequences": 512, "steps": 400}
    pack = RunningPack("p", "99990101T000000-whole", "node7", 1.0, now, now, 3, {missing[0]: 120}, about)
    published_packs.publish(store.location, "99990101T000000-whole", [pack], now)
    text = "\n".join(watched(store))
    assert "live  running  " in text
    assert "144 of 288 ended · 1 running · 4 claimed" in text
    assert "cells  6 of 12 complete" in text
    assert re.search(r"^ *1\sB +100\sB +0 of 24 +– +– +– +1 running$", text, re.MULTILINE)
    row = rf"^{missing[0][:12]}  node7  N 1\sB, D 100\sB, batch_sequences 512, lr 0.003 +120 of 400 +\d+ s$"
    assert re.search(row, text, re.MULTILINE), text


def store_plan(store: Store) -> list[str]:
    from sweeplaw.orchestrator.monitor.status import planned

    return planned(store)["99990101T000000-whole"]["trial_id"].to_list()


def test_failures_are_named_by_reason_and_an_empty_store_says_what_is_missing(store: Store, looks: list[float]) -> None:
    assert "cells: no trial has completed yet" in watched(store)[0]
    looks.clear()
    with store.writer("one") as writer:
        for seed in range(3):
            record = make_record(seed, state="failed", loss=None)
            writer.write([record])
    text = watched(store)[0]
    assert "why trials failed" in text
    assert f"sweeplaw show {store.location.uri}" in text


def test_no_name_of_a_store_controls_the_terminal() -> None:
    hostile = "a\x1b[2J\x1b]0;title\x07\nb\x1b[31m"
    assert safe(hostile).isprintable()
    assert safe(dt.date(2026, 1, 1)) == "2026-01-01"


def test_a_store_that_is_gone_is_said_and_looked_for_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place, away = Path(store.location.root), Path(store.location.root).with_name("away")
    turns = iter([lambda: place.rename(away), lambda: away.rename(place)])

    def sleep(seconds: float) -> None:
        turn = next(turns, None)
        if turn is None:
            raise KeyboardInterrupt
        turn()

    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.watch.time.sleep", sleep)
    text = " ".join(" ".join(watched(store)).split())
    assert text.count("is not a sweeplaw store (it has no store.json), at ") == 1
    assert text.count("0 ended") == 2
