"""Stopped training resumes bit for bit, and only from an intact checkpoint of its own."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.language_model import LanguageModel
from tests.trials.training.preemption import ending_at
from tests.trials.training.worlds import world

pytestmark = pytest.mark.kill

MARKOV = "markov:states=12,spread=1.5,tokens=65536"
WORKLOAD = LanguageModel.of("", {})
OWN_TIME = ("tokens_per_second", "resumed_step")  # metrics in which a resumed trial may differ


def spec(**values: Any) -> TrialSpec:
    small = {"corpus": MARKOV, "context": 16, "unique_tokens": 4096, "width": 16, "validation_tokens": 1024}
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**small, "curve_points": 7, **values}))


@pytest.fixture
def place(tmp_path: Path) -> Context:
    return Context("cpu", tmp_path, checkpoints=str(tmp_path / "checkpoints"))


def run(pack: Sequence[TrialSpec], context: Context) -> tuple[list[Event], Outcome]:
    """Run the pack; return all events but the last, and the last, an outcome."""
    *events, outcome = WORKLOAD.run(pack, context)
    assert isinstance(outcome, Outcome)
    return events, outcome


def compared(event: Any) -> Any:
    """Return the part of an event in which two runs of one trial agree."""
    if isinstance(event, CurvePoint):
        return event
    return event.trial_id, event.state, {k: v for k, v in event.metrics.items() if k not in OWN_TIME}


@pytest.mark.parametrize(("stop", "members"), [(1, 1), (5, 1), (9, 1), (31, 1), (5, 3), (31, 3)])
def test_a_resumed_trial_equals_an_uninterrupted_one_bit_for_bit(
    place: Context, monkeypatch: pytest.MonkeyPatch, stop: int, members: int
) -> None:
    """Preempted before the first point, at a point, between points, and while members are at different updates."""
    trial = spec(members=members)
    expected = list(WORKLOAD.run([trial], replace(place, checkpoints=None)))
    with monkeypatch.context() as patched:
        reported, outcome = run([trial], replace(place, ending=ending_at(stop, patched)))
    assert outcome.state == "preempted"
    assert "resumes from its checkpoint" in str(outcome.message)
    assert outcome.last_step is not None
    assert outcome.last_step == stop if members == 1 else outcome.last_step <= stop
    assert reported == expected[: len(reported)]
    resumed = list(WORKLOAD.run([trial], place))
    assert [compared(event) for event in resumed] == [compared(event) for event in expected]
    assert resumed[-1].metrics.get("resumed_step", 0) == outcome.last_step
    assert os.listdir(str(place.checkpoints)) == []


def test_a_trial_whose_process_died_without_notice_resumes_from_its_last_checkpoint(
    place: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = spec()
    expected = list(WORKLOAD.run([trial], replace(place, checkpoints=None)))
    often = replace(place, checkpoint_seconds=0.0)  # one an update
    with contextlib.closing(WORKLOAD.run([trial], often)) as events:
        before = [next(events) for _ in range(3)]
    again = list(WORKLOAD.run([trial], often))
    assert [compared(event) for event in again] == [compared(event) for event in expected]
    assert again[: len(before)] == before  # reported again, under the new attempt
    resumed_step = again[-1].metrics["resumed_step"]
    assert isinstance(resumed_step, int)
    assert resumed_step > 0


def test_trials_of_one_pack_resume_in_any_other_pack(place: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = [spec(seed=seed) for seed in range(3)]
    expected = {trial.trial_id: list(WORKLOAD.run([trial], replace(place, checkpoints=None))) for trial in pack}
    with monkeypatch.context() as patched:
        first, last = run(pack, replace(place, ending=ending_at(40, patched)))
    states = [event.state for event in [*first, last] if isinstance(event, Outcome)]
    assert states == ["completed", "preempted", "preempted"]
    assert last.last_step is None  # it had not begun
    for trial in reversed(pack[1:]):
        again = list(WORKLOAD.run([trial], place))
        assert [compared(event) for event in again] == [compared(event) for event in expected[trial.trial_id]]


def test_a_resumed_trial_frees_the_checkpoint_it_resumed_from(place: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = spec(members=2)
    with monkeypatch.context() as patched:
        reported = list(WORKLOAD.run([trial], replace(place, ending=ending_at(40, patched))))[:-1]
    read: list[weakref.ref[torch.Tensor]] = []
    real = checkpoint.load

    def load(*arguments: str) -> Saved | None:
        saved = real(*arguments)
        assert saved is not None
        read.extend(weakref.ref(tensor) for tensor in saved.tensors.values())
        return saved

    monkeypatch.setattr(checkpoint, "load", load)
    with contextlib.closing(WORKLOAD.run([trial], place)) as events:
        again = [next(events) for _ in reported]
        assert again == reported
        next(events)
        gc.collect()
        assert len(read) == 5 * 2  # weights, two moments, losses and norms of each member
        assert [tensor() for tensor in read] == [None] * len(read)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    place = len(data) - 100
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _foreign(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["identity"] = header["__metadata__"]["identity"].replace("seed", "sead")
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux reports memory by kind")
def test_a_checkpoint_is_memory_mapped_so_that_processes_share_it(tmp_path: Path) -> None:
    held = torch.arange(2**24, dtype=torch.float32)
    checkpoint.save(str(tmp_path), "a", "this", Saved({"weights.0": held}, {}))
    before = anonymous_bytes()
    read = checkpoint.load(str(tmp_path), "a", "this")
    assert read is not None
    assert torch.equal(read.tensors["weights.0"], held)
    assert anonymous_bytes() - before < held.nbytes / 2


def anonymous_bytes() -> int:
    """Return the memory of this process that is not backed by a file."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


@pytest.mark.parametrize(
    ("harm", "word"),
    [(_cut, "damaged"), (_flipped, "damaged in"), (_foreign, "belongs to another run"), (lambda data: b"", "damaged")],
    ids=["cut", "flipped", "foreign", "empty"],
)
def test_a_damaged_or_foreign_checkpoint_is_logged_and_training_starts_anew(
    place: Context,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[bytes], bytes],
    word: str,
) -> None:
    trial = spec()
    with monkeypatch.context() as patched:
        list(WORKLOAD.run([trial], replace(place, ending=ending_at(9, patched))))
    (path,) = Path(str(place.checkpoints)).iterdir()
    path.write_bytes(harm(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        _, outcome = run([trial], place)
    assert outcome.state == "completed"
    assert "resumed_step" not in outcome.metrics
    assert word in caplog.text
    assert trial.trial_id in caplog.text


def test_training_continues_if_a_checkpoint_cannot_be_written(
    place: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    nowhere = replace(place, checkpoints=str(tmp_path / "file" / "below"), checkpoint_seconds=0.0)
    with caplog.at_level(logging.WARNING):
        _, outcome = run([spec(unique_tokens=1024)], nowhere)
    assert outcome.state == "completed"
    assert "cannot be written" in caplog.text


def test_a_preempted_trial_ends_even_without_a_folder_for_checkpoints(
    place: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, outcome = run([spec()], replace(place, checkpoints=None, ending=ending_at(3, monkeypatch)))
    assert (outcome.state, outcome.last_step) == ("preempted", 3)
    assert "nowhere to leave a checkpoint" in str(outcome.message)


def test_a_failed_write_keeps_the_previous_checkpoint_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path)
    checkpoint.save(folder, "t", "run", Saved({"x": torch.arange(3.0)}, {"n": 1}))
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("planted: disk full")))
    with pytest.raises(OSError, match="planted"):
        checkpoint.save(folder, "t", "run", Saved({"x": torch.zeros(3)}, {"n": 2}))
    assert os.listdir(folder) == ["t.safetensors"]
    found = checkpoint.load(folder, "t", "run")
    assert found is not None
    assert (found.tensors["x"].tolist(), found.note) == ([0.0, 1.0, 2.0], {"n": 1})


def test_removing_a_checkpoint_removes_temporary_files_of_killed_writers_and_the_scripts_folder(tmp_path: Path) -> None:
    checkpoint.save(str(tmp_path), "t", "run", Saved({"x": torch.zeros(1)}, {}))
    (tmp_path / ".t.safetensors.0badcafe").write_bytes(b"half")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "model.bin").write_bytes(b"theirs")
    (tmp_path / "u").mkdir()
    checkpoint.remove(str(tmp_path), "t")
    assert os.listdir(tmp_path) == ["u"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="runs")
        yield "s3://runs/checkpoints"
    finally:
        server.stop()


def test_a_trial_resumes_from_a_checkpoint_in_a_bucket(
    place: Context, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    trial, remote = spec(), replace(place, checkpoints=bucket)
    expected = list(WORKLOAD.run([trial], replace(place, checkpoints=None)))
    with monkeypatch.context() as patched:
        _, outcome = run([trial], replace(remote, ending=ending_at(9, patched)))
    assert outcome.state == "preempted"
    resumed = list(WORKLOAD.run([trial], remote))
    assert [compared(event) for event in resumed] == [compared(event) for event in expected]
    assert resumed[-1].metrics["resumed_step"] == 9
    assert checkpoint.load(bucket, trial.trial_id, "") is None


@pytest.mark.slow
def test_one_process_resumes_from_the_checkpoint_of_several(place: Context, tmp_path: Path) -> None:
    trial = spec(epochs=20.0, curve_points=10)
    notice, checkpoints = tmp_path / "notice", str(tmp_path / "both")
    expected = list(WORKLOAD.run([trial], replace(place, checkpoints=None)))
    processes = world(2, [trial], tmp_path / "world", checkpoints=checkpoints, ending=str(notice), ending_rank=1)
    processes[0].first()
    notice.touch()
    assert processes[1].events() == []
    outcome = processes[0].events()[-1]
    assert outcome["state"] == "preempted"
    (again,) = world(1, [trial], tmp_path / "one", checkpoints=checkpoints)
    *_, last = again.events()
    assert last["metrics"]["resumed_step"] == outcome["last_step"]
    assert last["metrics"]["val_loss"] == pytest.approx(expected[-1].metrics["val_loss"], rel=1e-3)
