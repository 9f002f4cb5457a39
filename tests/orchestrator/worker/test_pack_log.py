"""The log of a pack: sections of its trials, bounded, on disk before anything else happens."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from pyarrow import fs

from sweeplaw.orchestrator.worker import pack_log
from sweeplaw.orchestrator.worker.capture import captured
from sweeplaw.orchestrator.worker.pack_log import PackLog
from sweeplaw.trials.store_format.attempt_log import HEAD_BYTES, TAIL_BYTES, is_damaged, left_out, sections
from sweeplaw.trials.store_format.location import Location


def test_each_section_belongs_to_its_trials_and_silent_ones_are_left_out(tmp_path: Path) -> None:
    with pack_log.opened(str(tmp_path), "l.log", tmp_path) as log:
        log.begin({"a": 1})
        log.write(b"of a\n\x1e not a header\n")
        log.begin({"b": 2})
        log.begin({"c": 1, "d": 3})
        log.write(b"of both")
    found = list(sections((tmp_path / "l.log").read_bytes()))
    assert [(dict(one.attempts), one.output) for one in found] == [
        ({"a": 1}, b"of a\n\x1e not a header\n"),
        ({"c": 1, "d": 3}, b"of both"),
    ]


def test_a_traceback_that_the_code_has_printed_itself_is_in_the_log_once(tmp_path: Path) -> None:
    text = "".join(traceback.format_exception(ValueError("boom"))).encode()
    text = b"Traceback (most recent call last):\n  File x\n" + text
    with pack_log.opened(str(tmp_path), "l.log", tmp_path) as log:
        log.begin({"a": 1})
        for line in (b"ERROR\n", *text.splitlines(keepends=True)):  # as print_exc() and logging do
            log.write(line)
        log.write(text)
        log.write(b"again\n")
        log.write(text)
        log.begin({"b": 1})
        log.write(text)  # of another trial
    assert [one.output for one in sections((tmp_path / "l.log").read_bytes())] == [
        b"ERROR\n" + text + b"again\n" + text,
        text,
    ]


@pytest.mark.parametrize("extra", [0, 1, 5_000_000])
def test_of_a_long_section_head_and_tail_are_kept_with_the_number_of_bytes_between(tmp_path: Path, extra: int) -> None:
    output = os.urandom(1000).hex().encode() * 4000
    output = output[: HEAD_BYTES + TAIL_BYTES + extra]
    with pack_log.opened(str(tmp_path), "l.log", tmp_path) as log:
        log.begin({"a": 1})
        for start in range(0, len(output), 300_000):
            log.write(output[start : start + 300_000])
            with log._lock:
                log._trim(pack_log.SLACK_BYTES)  # as every second
            assert (tmp_path / "l.log").stat().st_size < HEAD_BYTES + TAIL_BYTES + pack_log.SLACK_BYTES + 400_000
        log.begin({"b": 1})
        log.write(b"next")
    first, second = sections((tmp_path / "l.log").read_bytes())
    middle = left_out(extra) if extra else b""
    assert first.output == output[:HEAD_BYTES] + middle + output[-TAIL_BYTES:]
    assert second.output == b"next"


@pytest.mark.process
def test_what_a_process_printed_before_it_was_killed_is_in_the_log(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from sweeplaw.orchestrator.worker.capture import captured
from sweeplaw.orchestrator.worker.pack_log import PackLog
log = PackLog(sys.argv[1], "l.log")
log.begin({"a": 1})
with captured(log.write, log.descriptor):
    print("last words")
    os.write(2, b"of C")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False, timeout=60)
    (section,) = sections((tmp_path / "l.log").read_bytes())
    assert section.output == b"last words\nof C"


def test_bytes_may_be_printed_and_are_counted() -> None:
    printed: list[bytes] = []
    before = sys.stdout, sys.stderr
    with captured(printed.append, None):
        assert sys.stdout.buffer.write("größe".encode()) == 7
        assert sys.stderr.write("größe") == 5
    assert printed == ["größe".encode()] * 2
    assert (sys.stdout, sys.stderr) == before


def test_on_an_object_store_the_log_is_uploaded_when_it_ends(tmp_path: Path) -> None:
    bucket, scratch = tmp_path / "bucket", tmp_path / "scratch"
    bucket.mkdir()
    scratch.mkdir()
    upload = Location("s3://bucket", fs.LocalFileSystem(), str(bucket), local=False)
    log = PackLog(str(scratch), "l.log", upload)
    log.begin({"a": 1})
    log.write(b"output")
    assert list(bucket.iterdir()) == []
    log.close()
    (section,) = sections((bucket / "l.log").read_bytes())
    assert section.output == b"output"


def test_a_log_that_cannot_be_written_costs_no_output_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "l.log").symlink_to(tmp_path / "elsewhere")
    with pack_log.opened(str(tmp_path), "l.log", tmp_path) as log:
        log.begin({"a": 1})
        log.write(b"output")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("reused", [False, True])
def test_code_that_closes_the_descriptor_of_the_log_loses_nothing_and_its_own_files_stay(
    tmp_path: Path, reused: bool
) -> None:
    """The number may be that of a file of the trial by then: it is neither written, cut nor closed."""
    log = PackLog(str(tmp_path), "l.log")
    log.begin({"a" * 20: 1})
    log.write(b"before\n")
    number = log.descriptor
    os.close(number)
    if reused:
        other = os.open(tmp_path / "of a trial", os.O_RDWR | os.O_CREAT)
        os.dup2(other, number)
    log.write(b"after\n")
    log.close()
    (section,) = sections((tmp_path / "l.log").read_bytes())
    assert section.output == b"before\nafter\n"
    if reused:
        assert (tmp_path / "of a trial").read_bytes() == b""
        os.close(number)  # still open


def test_any_byte_of_a_log_that_is_another_is_damage(tmp_path: Path) -> None:
    with pack_log.opened(str(tmp_path), "l.log", tmp_path) as log:
        log.begin({"a": 1})
        log.write(b"of a\n")
        log.begin({"b": 1})
        log.write(b"of b")
    content = (tmp_path / "l.log").read_bytes()
    assert not is_damaged(content)
    for at in range(len(content)):
        for mask in (1, 0x20, 0x80):
            assert is_damaged(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]), at
    assert [one.output for one in sections(content)] == [b"of a\n", b"of b"]


def test_a_log_that_goes_on_is_verified_to_its_end(tmp_path: Path) -> None:
    for trial in ("a", "b"):
        with pack_log.opened(str(tmp_path), "l.log", tmp_path) as log:
            log.begin({trial: 1})
            log.write(f"of {trial}".encode())
    content = (tmp_path / "l.log").read_bytes()
    assert [one.output for one in sections(content)] == [b"of a", b"of b"]
    assert not is_damaged(content)
    assert is_damaged(content.replace(b"of a", b"of A"))


def test_a_log_without_its_last_line_is_not_verified(tmp_path: Path) -> None:
    log = PackLog(str(tmp_path), "l.log")
    log.begin({"a": 1})
    log.write(b"its worker died")
    content = (tmp_path / "l.log").read_bytes()
    assert not is_damaged(content)
    assert not is_damaged(b"")
    log.close()
    assert (tmp_path / "l.log").read_bytes().startswith(content)


def test_what_a_process_prints_behind_its_trial_leaves_the_log_unverified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PackLog(str(tmp_path), "l.log")
    log.begin({"a": 1})
    log.write(b"output\n")
    read = os.pread

    def slow(descriptor: int, count: int, offset: int) -> bytes:
        found = read(descriptor, count, offset)
        if not found:
            os.write(descriptor, b"late\n")
        return found

    monkeypatch.setattr(os, "pread", slow)
    log.close()
    content = (tmp_path / "l.log").read_bytes()
    assert content.endswith(b"output\nlate\n")
    assert not is_damaged(content)
