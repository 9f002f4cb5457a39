"""A resumed attempt of user code has the whole curve, and a member of a population what it was before its change."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from sweeplaw.trials.changes import parse, write
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.checkpoint import CURVE
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.user_code.resumption import continued

SPEC = TrialSpec("python:m:f", {"lr": 0.1})


def context(folder: Path, *, keeps: bool = True) -> Context:
    (folder / "pack").mkdir(exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    return Context("cpu", folder / "pack", checkpoints=str(folder / "checkpoints") if keeps else None)


def points(spec: TrialSpec, *steps: int, loss: float = 2.0) -> list[CurvePoint]:
    return [CurvePoint(spec.trial_id, step, 10 * step, loss) for step in steps]


def run(spec: TrialSpec, where: Context, events: list[Any]) -> list[Any]:
    """Return what an attempt yields; its own folder is there, as user code that keeps checkpoints makes it."""
    Path(where.own_folder(spec.trial_id)).mkdir(parents=True, exist_ok=True)

    def attempt() -> Generator[Event, None, None]:
        yield from events

    return list(continued(attempt(), spec, where))


def end(spec: TrialSpec) -> Outcome:
    return Outcome(spec.trial_id, "completed", None, 4, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def test_points_of_earlier_attempts_come_before_those_of_this_one(tmp_path: Path) -> None:
    where = context(tmp_path)
    assert run(SPEC, where, points(SPEC, 1, 2, 3)) == points(SPEC, 1, 2, 3)
    again = run(SPEC, where, [*points(SPEC, 3, 4, loss=1.5), end(SPEC)])
    assert again == [*points(SPEC, 1, 2), *points(SPEC, 3, 4, loss=1.5), end(SPEC)]
    whole = run(SPEC, where, [end(SPEC)])  # it had nothing left to do
    assert whole == [*points(SPEC, 1, 2), *points(SPEC, 3, 4, loss=1.5), end(SPEC)]


def test_an_attempt_from_the_start_has_no_earlier_points(tmp_path: Path) -> None:
    where = context(tmp_path)
    run(SPEC, where, points(SPEC, 1, 2))
    assert run(SPEC, where, points(SPEC, 1, 2, loss=1.0)) == points(SPEC, 1, 2, loss=1.0)


def test_lines_of_a_killed_process_are_left_out(tmp_path: Path) -> None:
    where = context(tmp_path)
    run(SPEC, where, points(SPEC, 2, 1))
    file = Path(where.own_folder(SPEC.trial_id), CURVE)
    file.write_text(
        file.read_text() + '{"trial_id": "x", "st\n[]\n{"step": 7}\n' + file.read_text().splitlines()[0][:9]
    )
    assert run(SPEC, where, [end(SPEC)]) == [*points(SPEC, 1, 2), end(SPEC)]
    assert json.loads(file.read_text().splitlines()[0])["step"] == 2


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO"])
def test_a_curve_that_is_no_file_is_replaced_and_leads_nowhere(tmp_path: Path, kind: str) -> None:
    where, own = context(tmp_path), tmp_path / "own"
    file = Path(where.own_folder(SPEC.trial_id), CURVE)
    file.parent.mkdir()
    os.mkfifo(file) if kind == "FIFO" else file.symlink_to(own)
    if kind == "link":
        own.write_text(json.dumps(asdict(points(SPEC, 1)[0])))
    before = own.read_text() if kind == "link" else None
    assert run(SPEC, where, points(SPEC, 2, 3)) == points(SPEC, 2, 3)
    assert run(SPEC, where, [end(SPEC)]) == [*points(SPEC, 2, 3), end(SPEC)]
    assert (own.read_text() if own.exists() else None) == before


def test_checkpoints_of_a_member_are_not_taken_from_behind_a_link(tmp_path: Path) -> None:
    where = context(tmp_path)
    changed = TrialSpec(SPEC.workload, {**SPEC.knobs, "changes": "4: lr=0.2"})
    before = TrialSpec(SPEC.workload, {**SPEC.knobs, "changes": ""})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "secret").write_text("precious")
    Path(where.own_folder(before.trial_id)).symlink_to(tmp_path / "own")

    def attempt() -> Generator[Event, None, None]:
        yield end(changed)

    list(continued(attempt(), changed, where))
    assert not os.path.lexists(where.own_folder(changed.trial_id))


def test_without_a_folder_that_outlives_the_pack_nothing_is_kept(tmp_path: Path) -> None:
    where = context(tmp_path, keeps=False)
    run(SPEC, where, points(SPEC, 1, 2))
    assert run(SPEC, where, points(SPEC, 3)) == points(SPEC, 3)


def test_a_script_without_checkpoints_gets_no_folder(tmp_path: Path) -> None:
    where = context(tmp_path)
    for steps in ((1, 2), (3, 4)):
        assert list(continued(iterated(points(SPEC, *steps)), SPEC, where)) == points(SPEC, *steps)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def iterated(events: list[Any]) -> Generator[Event, None, None]:
    yield from events


def test_closing_ends_the_attempt(tmp_path: Path) -> None:
    ended: list[bool] = []

    def attempt() -> Generator[Event, None, None]:
        try:
            yield from points(SPEC, 1, 2, 3)
        finally:
            ended.append(True)

    events: Any = continued(attempt(), SPEC, context(tmp_path))
    next(events)
    events.close()
    assert ended == [True]


@pytest.fixture
def changed() -> tuple[TrialSpec, TrialSpec]:
    """A trial with one change of its knobs, and the same trial with one more."""
    changes = parse("4: lr=0.2; 8: lr=0.4")
    one, two = (TrialSpec("python:m:f", {"lr": 0.1, "changes": write(changes[:count])}) for count in (1, 2))
    return one, two


def test_a_changed_trial_begins_with_the_checkpoints_and_the_curve_of_the_one_before(
    tmp_path: Path, changed: tuple[TrialSpec, TrialSpec]
) -> None:
    first, second = changed
    where = context(tmp_path)
    run(first, where, points(first, 1, 2))
    folder = Path(where.own_folder(first.trial_id))
    (folder / "weights").write_text("at 2")
    (folder / "link").symlink_to("weights")
    found = list(continued(iterated(points(second, 3)), second, where))
    assert found == [*points(second, 1, 2), *points(second, 3)]
    own = Path(where.own_folder(second.trial_id))
    assert (own / "weights").read_text() == "at 2"
    assert (own / "link").is_symlink()
    assert not list(own.parent.glob(".inherited-*"))
    (folder / "weights").write_text("at 4")
    list(continued(iterated(points(second, 4)), second, where))
    assert (own / "weights").read_text() == "at 2", "it has its own by now"


def test_nothing_is_inherited_where_there_is_nothing(tmp_path: Path, changed: tuple[TrialSpec, TrialSpec]) -> None:
    where = context(tmp_path)
    assert list(continued(iterated(points(changed[1], 3)), changed[1], where)) == points(changed[1], 3)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    none = context(tmp_path, keeps=False)
    Path(none.own_folder(changed[0].trial_id)).mkdir(parents=True)
    assert list(continued(iterated(points(changed[1], 3)), changed[1], none)) == points(changed[1], 3)
    assert not Path(none.own_folder(changed[1].trial_id)).exists()


@pytest.mark.process
def test_a_changed_trial_begins_with_the_checkpoints_that_the_one_before_has_in_a_bucket(
    tmp_path: Path, changed: tuple[TrialSpec, TrialSpec], bucket: str
) -> None:
    first, second = changed
    where = Context("cpu", tmp_path, checkpoints=f"{bucket}/checkpoints")
    filesystem, folder = fs.FileSystem.from_uri(f"{bucket}/checkpoints")
    for text in (b"at 2", b"at 4"):
        with filesystem.open_output_stream(f"{folder}/{first.trial_id}/weights") as file:
            file.write(text)
        assert list(continued(iterated(points(second, 3)), second, where)) == points(second, 3)
        with filesystem.open_input_stream(f"{folder}/{second.trial_id}/weights") as file:
            assert file.read() == b"at 2", "at the second time it has its own"
