"""Stores that somebody hostile has written, what lies beside them, and who touches it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.store import claims, heartbeats
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.journal import encode
from tests.conftest import make_points, make_record

LONG_AGO = 2 * 86_400  # seconds before now: beyond every grace period
SENTINEL = "feedfacefeedfaceface"  # the id of a trial that is only outside the store
SWEEP = """
name = "small"
workload = "surrogate"
[scientific]
params = [1e7, 1e8]
tokens = [1e9, 1e10]
[nuisance]
lr = [1e-3, 1e-2, {lr}]
"""


def age(folder: Path) -> None:
    """Set the times of everything in ``folder`` to long ago; the times of access too, so that reading shows."""
    at = dt.datetime.now().timestamp() - LONG_AGO
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.utime(f"{top}/{name}", (at, at), follow_symlinks=False)


def run(*words: object) -> tuple[int, str]:
    """Return the exit code of a command and all it prints; raise what it raises, but for bad input."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit | InputError | OSError):
        raise result.exception
    if isinstance(result.exception, InputError | OSError):  # `main` prints it
        return 2, f"{result.output}{result.exception}"
    return result.exit_code, result.output


def make_store(folder: Path, *, launch: str = "one", seeds: range = range(6)) -> Store:
    """Return a store with a merged part, a sealed part and an open journal."""
    store = Store.open(folder, create=True)
    third = len(seeds) // 3
    for number, name in enumerate((launch, f"{launch}-again", f"{launch}-open")):
        rows = [make_record(seed, launch=name) for seed in seeds[number * third : (number + 1) * third]]
        writer = store.writer(name)
        writer.write(rows, [point for row in rows for point in make_points(row)])
        if number < 2:
            writer.close()
        if number == 0:
            compact(store.location)
    return store


def make_base(folder: Path) -> Path:
    """Make a launched store in ``folder`` with everything that commands read, and its sweep files."""
    for name, lr in (("first", "0.03"), ("second", "0.1")):
        (folder / f"{name}.toml").write_text(SWEEP.format(lr=lr))
    store = folder / "store"
    assert run("launch", folder / "first.toml", "--store", store, "--cluster", "inline")[0] == 0
    compact(Store.open(store).location)
    made = make_store(store, seeds=range(100, 106))
    claims.claim(made.location, {"a", "b"}, "other", 60.0)
    assert run("retry", store, "--state", "completed", "--where", "lr > 0.02")[0] == 0
    return folder


def make_outside(folder: Path) -> Path:
    """Fill ``folder``, which is in no store, with files of every kind of a store, and of a user."""
    source = make_store(folder / "source", launch="victim", seeds=range(200, 206))
    rows = pl.read_parquet(next(Path(source.location.path("trials")).glob("*.parquet")))
    for name in ("trials", "curves", "earlier", "launches"):
        (folder / name).mkdir()
        rows.with_columns(trial_id=pl.lit(SENTINEL)).write_parquet(folder / name / "v.parquet")
    for name in ("merges", "claims", "retries", "usage", "journal", "checkpoints", "exclusions", "sealed"):
        (folder / name).mkdir()
        content = {"attempts": {SENTINEL: 1}, "replaces": [], "sweep": SENTINEL}
        (folder / name / "v.json").write_text(json.dumps(content))
    row = {**make_record(9).row(), "trial_id": SENTINEL}
    (folder / "journal/v.jsonl").write_bytes(encode([row], []))
    (folder / "claims/v.ids").write_text(SENTINEL)
    (folder / "launches/v.json").write_text(json.dumps({"sweep": SENTINEL, "recorded_at": "2026-01-01T00:00:00+00:00"}))
    shutil.copy(f"{source.location.root}/store.json", folder / "store.json")
    shutil.rmtree(source.location.root)
    for name in (".env", ".x.json.0a1b2c3d", "notes.txt", "notes.json", "notes.parquet", "notes.ids"):
        (folder / name).write_text(f"of a user {SENTINEL}")
    return folder


def state_of(folder: Path) -> dict[str, Any]:
    """Return everything about the files in ``folder`` that reading or writing one changes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        times = (status.st_mtime_ns, status.st_ctime_ns, status.st_atime_ns if path.is_file() else None)
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_mode, status.st_size, times)
    return found


IRREGULAR: dict[str, Callable[[Path, Path], object]] = {
    "a symbolic link": lambda path, target: path.symlink_to(target),
    "a FIFO": lambda path, target: os.mkfifo(path),
    "a folder": lambda path, target: path.mkdir(),
    "a socket": lambda path, target: bound(path),
}


def bound(path: Path) -> None:
    """Leave a socket at ``path``, whose full name may be too long for one."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


NAMES = ("../outside/notes", "../../outside/notes", "/etc/hostname", "..", "", "a/b", "\x00", "x\n", "v", 3, None)
CONTENTS: tuple[Callable[[Any], Any], ...] = (
    lambda name: {"replaces": [name, f"{name}.jsonl"], "rows": 0},
    lambda name: {str(name): "claims/v.ids", "other": name},
    lambda name: {"other": f"claims/{name}.ids", "x": f"{name}.txt"},
    lambda name: {"attempts": {str(name): 1}},
    lambda name: {"launch_id": name, "sweep": name, "recorded_at": "2026-01-01T00:00:00+00:00", "retry": {"failed": 9}},
    lambda name: {"undoes": [name], "trial_ids": [name]},
    lambda name: {"trials": name, "curves": 1, "earlier": 1},
    lambda name: {"lease_seconds": 60, "holder": name, "machine": heartbeats.machine(), "pid": 1},
    lambda name: {
        "at": "2026-01-01T00:00:00+00:00",
        "packs": [
            {"pack_id": name, "host": name, "devices": 1.0, "since": "2026-01-01T00:00:00+00:00"}
            | {"idle_since": "2026-01-01T00:00:00+00:00", "left": 1, "steps": {str(name): 1}}
        ],
    },
)
FOLDERS = (
    "launches",
    "journal",
    "trials",
    "curves",
    "earlier",
    "merges",
    "retries",
    "claims",
    "usage",
    "sealed",
    "logs",
    "exclusions",
    "forecasts",
    "searches",
    "weights",
    "rejected",
)
NAMING = ("merges", "claims", "retries", "launches", "usage", "exclusions", "sealed", "forecasts", "searches")
SUFFIXES = (".json", ".jsonl", ".parquet", ".ids", ".log", ".beat.json", ".running.json", ".json.lock", ".safetensors")


class Attack:
    """Seeded changes to a copy of a store, which no command may carry outside."""

    def __init__(self, store: Path, outside: Path, seed: int) -> None:
        self._store, self._outside, self._random = store, outside, random.Random(seed)

    def apply(self) -> None:
        """Make one to four changes."""
        changes = (self._file, self._file, self._entry, self._folder, self._content, self._content, self._hidden)
        for change in self._random.choices(changes, k=self._random.randint(1, 4)):
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                change()
        age(self._store)

    def _file(self) -> None:
        """Replace a file that is there by something else."""
        files = [path for path in self._store.rglob("*") if path.is_file() and not path.is_symlink()]
        files.sort(key=lambda path: (path.parent.name, path.suffix, path.name))
        path = self._random.choice(files)
        path.unlink()
        self._put(path)

    def _entry(self) -> None:
        """Add an entry under a name that a command may look at."""
        folder = self._random.choice(FOLDERS)
        suffix = self._random.choice(SUFFIXES)
        names = (f"v{suffix}", f"merged-v{suffix}", "table.json.lock", ".lock")
        self._put(self._store / folder / self._random.choice(names))
        self._put(self._store / self._random.choice(("report.html", "report.json")))

    def _folder(self) -> None:
        """Replace a folder by a link, or add one that is a link."""
        folder = self._store / self._random.choice((*FOLDERS, "checkpoints", "quarantine", "extra"))
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        target = self._random.choice((self._outside / folder.name, self._outside, self._store, Path("/dev")))
        folder.symlink_to(target if target.exists() else self._outside)

    def _content(self) -> None:
        """Write a file that names others."""
        name = self._random.choice(NAMES)
        folder = self._random.choice(NAMING)
        stem = self._random.choice(("v", "table", "other.beat", "other.running", "merged-v"))
        content = self._random.choice(CONTENTS)(name)
        row = {**make_record(7).row(), **dict.fromkeys(("trial_id", "launch_id", "host", "spec"), str(name))}
        for path, data in (
            (self._store / folder / f"{stem}.json", json.dumps(content).encode()),
            (self._store / "journal/hostile-0.jsonl", encode([row], [])),
        ):
            self._vacate(path)
            path.write_bytes(data)

    def _hidden(self) -> None:
        for name in (".env", ".nfs0001", ".x.json.0a1b2c3d"):
            self._put(self._store / self._random.choice((*FOLDERS, "mine")) / name)

    def _put(self, path: Path) -> None:
        self._vacate(path)
        elsewhere = [self._outside, Path("/dev/zero"), path, Path("/nonexistent")]
        targets = [*self._outside.rglob(f"*{path.suffix}"), *elsewhere]
        kind = self._random.choice((*["a symbolic link"] * 3, *IRREGULAR))
        IRREGULAR[kind](path, self._random.choice(sorted(targets)))

    def _vacate(self, path: Path) -> None:
        """Make the folder of ``path``, and remove what is there. Raise NotADirectoryError if the folder is a link."""
        if path.parent.is_symlink():
            raise NotADirectoryError(path)
        path.parent.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


class Watch:
    """An audit hook that notes what Python does to files in a folder while it is `on`."""

    EVENTS = ("open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.scandir")

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.events: list[str] = []
        sys.addaudithook(self._note)  # cannot be removed

    @contextlib.contextmanager
    def on(self, folder: Path) -> Iterator[list[str]]:
        self.folder, self.events = folder, []
        try:
            yield self.events
        finally:
            self.folder = None

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in self.EVENTS:
            return
        followed = event == "os.scandir" or (event == "open" and not arguments[2] & os.O_NOFOLLOW)
        for path in arguments[: 2 if event == "os.rename" else 1]:
            if isinstance(path, str | bytes | os.PathLike):
                head, tail = os.path.split(os.path.abspath(os.fsdecode(path)))
                reached = os.path.realpath(f"{head}/{tail}") if followed else f"{os.path.realpath(head)}/{tail}"
                if Path(reached).is_relative_to(self.folder):
                    self.events.append(f"{event} {path!r}")
