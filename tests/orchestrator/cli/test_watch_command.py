"""What `sweeplaw watch` prints where there is no terminal, and how it ends."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.pages.watch_screen import safe
from sweeplaw.orchestrator.launch import published_packs
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint
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

    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.watch.time", SimpleNamespace(sleep=sleep))
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

    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.watch.time", SimpleNamespace(sleep=sleep))
    text = " ".join(" ".join(watched(store)).split())
    assert text.count("is not a sweeplaw store (it has no store.json), at ") == 1
    assert text.count("0 ended") == 2


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff{")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN = {"trials": ".parquet", "curves": ".parquet", "launches": ".json", "sealed": ".json", "journal": ".jsonl"}


@pytest.fixture
def written(store: Store) -> Path:
    """A copy of a store with a sealed part, a journal of a launch that runs, its claims and its device time."""
    launch = "20260101T000000-a"
    store.add_launch(launch, {"sweep": "s", "planned": 6}, ["b"])
    with store.writer(launch) as writer:
        rows = [make_record(seed) for seed in range(4)]
        writer.write(rows, [CurvePoint(row.spec.trial_id, 1, val_loss=2.0) for row in rows])
    with store.writer(launch) as writer:
        writer.write([make_record(9)])
        claims.claim(store.location, ["b"], launch, 600)
        atomic.publish_json(store.location, f"usage/{launch}.json", {"sweep": "s", "useful": 1.0})
        place = Path(store.location.root)
        return Path(shutil.copytree(place, place.with_name("copy")))


def looked_at(place: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[], None], *words: str) -> list[str]:
    """Return what is printed at three looks, before a change and twice after it."""
    turns = iter([change, lambda: None])

    def sleep(seconds: float) -> None:
        turn = next(turns, None)
        if turn is None:
            raise KeyboardInterrupt
        turn()

    monkeypatch.setattr("sweeplaw.orchestrator.cli.pages.watch.time", SimpleNamespace(sleep=sleep))
    text = "\n".join(watched(Store.open(place), *words))
    _, *found = re.split(r"^(?=.*  (?:running|finished|no launch runs)  )", text, flags=re.MULTILINE)
    assert len(found) == 3
    return found


@pytest.mark.timeout(60)  # a FIFO that is opened has no end
@pytest.mark.parametrize("words", [(), ("0.5",)])
@pytest.mark.parametrize("name", [*BROKEN, "claims", "usage"])
@pytest.mark.parametrize("breaking", [fifo, folder, garbage, half])
def test_a_broken_file_is_named_in_a_line_at_each_look_and_the_rest_is_shown(
    written: Path, monkeypatch: pytest.MonkeyPatch, breaking: Callable[[Path], None], name: str, words: tuple[str, ...]
) -> None:
    """It breaks while it is watched, after a first look at the whole store."""
    path = sorted((written / name).glob(f"*{BROKEN.get(name, '.json')}"))[-1]
    texts = looked_at(written, monkeypatch, lambda: breaking(path), *words)
    lines = [[line for line in look.splitlines() if path.name in line] for look in texts]
    assert lines[0] == []
    for found in lines[1:]:
        assert len(found) == 1, found
        assert found[0].strip().startswith(f"damaged: {name}/{path.name} ")
    assert all(" ended · " in look for look in texts)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["trials", "curves", "launches", "sealed", "journal", "usage", "earlier"])
@pytest.mark.parametrize("made", [Path.touch, os.mkfifo])
def test_what_stands_in_place_of_a_folder_is_named_once(
    written: Path, monkeypatch: pytest.MonkeyPatch, name: str, made: Callable[[Path], None]
) -> None:
    """Also where the folder was empty."""

    def replaced() -> None:
        shutil.rmtree(written / name)
        made(written / name)

    _, *after = looked_at(written, monkeypatch, replaced)
    for look in after:
        damage = [line for line in look.splitlines() if f" {name} cannot be read: it is a " in line]
        assert len(damage) == 1, look
        assert damage[0].endswith("not a folder")
        assert " ended · " in look


@pytest.mark.parametrize("words", [(), ("0.5",)])
@pytest.mark.parametrize("breaking", [fifo, folder, garbage, half])
def test_a_store_whose_marker_is_broken_is_no_store(
    written: Path, breaking: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    breaking(written / "store.json")
    done = CliRunner().invoke(app, ["watch", str(written), *words])
    assert isinstance(done.exception, InputError)  # exit code 2
    assert str(done.exception).startswith(f"{written}/store.json cannot be read: ")
    assert "\n" not in str(done.exception)
    assert done.stdout == ""


WIDE = {"COLUMNS": "200", "LINES": "60", "TERM": "xterm"}


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_on_a_terminal_a_broken_store_is_drawn_until_a_signal_which_leaves_the_cursor(
    written: Path, number: int, code: int
) -> None:
    (part,) = (written / "trials").glob("*.parquet")
    fifo(part)
    with on_terminal("-m", "sweeplaw", "watch", str(written), "0.1") as (watch, terminal):
        drawn = b""
        while drawn.count(b"cannot be read: it is a FIFO") < 2:
            drawn += os.read(terminal, 4096)
        watch.send_signal(number)
        drawn += rest(terminal)
        assert watch.wait(timeout=60) == code
    assert b"Traceback" not in drawn
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")


SIGNAL_WHILE_IT_WRITES = """
import signal, sys
from sweeplaw.orchestrator.cli import main, streams
written = streams.Stream.write
def write(self, data):
    if b"cannot be read" in bytes(data):
        signal.raise_signal(signal.SIGTERM)
    return written(self, data)
streams.Stream.write = write
sys.argv = ["sweeplaw", "watch", sys.argv[1], "0.1"]
main()
"""


@pytest.mark.process
def test_a_signal_in_the_middle_of_a_write_ends_it_too(written: Path) -> None:
    """A stream that is being written cannot be written by the signal's handler."""
    (part,) = (written / "trials").glob("*.parquet")
    fifo(part)
    with on_terminal("-c", SIGNAL_WHILE_IT_WRITES, str(written)) as (watch, terminal):
        drawn = rest(terminal)
        assert watch.wait(timeout=60) == -signal.SIGTERM, drawn
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")


@contextlib.contextmanager
def on_terminal(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start Python with these words on a terminal of its own; yield the process and what reads the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *words], stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, **WIDE}
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(timeout=60)
        os.close(ours)


def rest(terminal: int) -> bytes:
    """Return what is written to this terminal until nothing has it open."""
    drawn = b""
    with contextlib.suppress(OSError):  # the end of its output
        while more := os.read(terminal, 4096):
            drawn += more
    return drawn
