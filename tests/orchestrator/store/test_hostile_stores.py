"""No command reads, writes or removes anything outside its store, whatever mixture of attacks the store holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import make_record
from tests.orchestrator.store.hostile import SENTINEL, Attack, Watch, age, run, state_of

CASES = 6 * int(os.environ.get("SWEEPLAW_FUZZ", "1"))


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def commands(base: Path, store: Path, seed: int) -> list[tuple[object, ...]]:
    """Return every command that uses a store."""
    sweep = base / "second.toml"
    slow = [("report", store), ("fit", store, "power", "--x", "N=params")] if seed % 10 == 9 else []
    return [
        ("query", store, "--where", "trial_id != ''"),
        ("status", store),
        ("plan", sweep, "--store", store),
        ("diff", base / "store", store),
        ("export", store, store.parent / "out.csv"),
        ("retry", store, "--state", "completed", "--where", "lr > 0.005"),
        ("compact", store, *["--now"] * (seed % 2)),
        ("launch", sweep, "--store", store, "--cluster", "inline"),
        ("query", store, "select * from curves"),
        ("logs", store, make_record(100).spec.trial_id),
        ("show", store, make_record(100).spec.trial_id),
        ("show", store, make_record(100).spec.trial_id, "--sweep"),
        ("export-checkpoint", store, make_record(100).spec.trial_id, "--out", store.parent / "exported"),
        ("exclude", store, "--where", "lr > 0.5", "--reason", "x"),
        ("columns", store),
        *slow,
    ]


@pytest.mark.heavy
@pytest.mark.timeout(300 + 10 * CASES)
def test_no_store_makes_a_command_leave_it(base, outside, tmp_path, monkeypatch, watch):
    """Whatever a store holds, commands end, with an answer or one message, and nothing outside is read or changed.

    What Python opens is seen by an audit hook; what Polars and Arrow open, by times of access and the sentinel.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for seed in range(CASES):
        folder = tmp_path / str(seed)
        store = shutil.copytree(base / "store", folder / "store")
        Attack(store, outside, seed).apply()
        age(outside)
        before = state_of(outside)
        for words in commands(base, store, seed):
            with watch.on(outside) as events:
                code, text = run(*words)
            assert events == [], (seed, words)
            assert code in (0, 1, 2, 3), (seed, words, text)
            assert SENTINEL not in text, (seed, words, text)
        assert state_of(outside) == before, seed
        assert {path.name for path in folder.iterdir()} <= {"store", "out.csv"}, seed
        assert not [path for path in folder.glob("*.csv") if SENTINEL in path.read_text()], seed
        shutil.rmtree(folder)
