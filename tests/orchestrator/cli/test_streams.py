"""A stream that is closed, full, left by its reader or in another encoding ends no sweep and shows no traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.orchestrator.cli.shared.streams import OutputLost, Stream, check_arguments
from sweeplaw.trials.errors import InputError

SWEEP = 'name = "small"\nworkload = "surrogate"\n[scientific]\nparams = [1e7, 1e8]\ntokens = [1e9]\n'
COMMAND = shlex.join([sys.executable, "-m", "sweeplaw"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "é.toml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def shell(folder: Path, line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `sweeplaw` is the command."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; sweeplaw() {{ {COMMAND} \"$@\"; }}; {line}"],
        cwd=folder, env={**os.environ, **variables}, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("streams", ["2>&1 >/dev/null | true", ">/dev/full 2>/dev/full", "<&- >&- 2>&-", "| true"])
def test_a_sweep_does_not_depend_on_who_watches_it(folder: Path, streams: str) -> None:
    done = shell(folder, f"sweeplaw launch é.toml --store s --cluster inline {streams}")
    assert done.returncode == 0, done.stderr
    assert load(folder / "s").trials.collect()["state"].to_list() == ["completed"] * 2
    assert b"Traceback" not in done.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    ("streams", "code", "message"),
    [
        (">/dev/full", 1, "sweeplaw: stdout cannot be written: No space left on device\n"),
        (">&-", 1, "sweeplaw: stdout cannot be written: Bad file descriptor\n"),
        ("| true", 0, ""),
    ],
)
def test_an_answer_that_cannot_be_printed_is_an_error_unless_its_reader_left(
    folder: Path, streams: str, code: int, message: str
) -> None:
    done = shell(folder, f"sweeplaw plan é.toml --json {streams}")
    assert (done.returncode, done.stderr.decode()) == (code, message)


@pytest.mark.process
def test_output_in_another_encoding_has_escapes_and_data_for_programs_is_utf_8(folder: Path) -> None:
    table, data = (shell(folder, f"sweeplaw columns {option}", PYTHONIOENCODING="ascii") for option in ("", "--json"))
    assert (table.returncode, table.stderr) == (0, b"")
    assert b"\\u2026" in table.stdout  # the ellipsis of a cut text
    assert not data.stdout.isascii()
    assert len(json.loads(data.stdout.decode("utf-8"))) == table.stdout.count(b"\n") - 1


@pytest.mark.process
def test_arguments_that_are_no_utf_8_are_refused(folder: Path) -> None:
    done = shell(folder, "sweeplaw plan $'\\xff.toml'")
    assert done.returncode == 2
    assert done.stderr == b"sweeplaw: '\\udcff.toml' is not UTF-8 text (accepted: names and options in UTF-8)\n"


def test_arguments_in_utf_8_are_accepted() -> None:
    check_arguments(["é.toml", "--where", "name = '…'", ""])
    with pytest.raises(InputError, match="2 faults"):
        check_arguments(["\udc80", "a\udcffb", "a"])


def test_a_full_stream_fails_once_and_an_optional_one_never() -> None:
    with open("/dev/full", "wb") as full:
        needed = io.BufferedWriter(Stream(full.fileno(), optional=False))
        needed.write(b"a")
        with pytest.raises(OutputLost, match="No space left on device"):
            needed.flush()
        needed.flush()
        dropped = Stream(full.fileno(), optional=True)
        assert dropped.write(b"abc") == 3
        assert dropped.lost is not None


def test_what_a_stream_takes_reaches_its_reader() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = Stream(writer, optional=False)
    assert stream.write(b"abc") == 3
    assert os.read(reader, 10) == b"abc"
    os.close(reader)
    with pytest.raises(OutputLost) as caught:
        stream.write(b"abc")
    assert caught.value.reader_left
    os.close(writer)


HOSTILE = "a\x1b[2Jb\x1b]0;title\x07c\rd\x9b1Ae"


def on_a_terminal(folder: Path, *words: str) -> str:
    """Return what a command writes to a terminal that is its stdout and stderr."""
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "rb", buffering=0) as reader:
        command = [sys.executable, "-m", "sweeplaw", *words]
        with subprocess.Popen(command, cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal) as process:
            os.close(terminal)
            pieces = []
            with contextlib.suppress(OSError):  # the other end is closed
                while piece := reader.read(1 << 16):
                    pieces.append(piece)
        assert process.returncode in (0, 2)
    return b"".join(pieces).decode()


@pytest.mark.process
@pytest.mark.parametrize(
    "words",
    [
        ("query", "runs.ndjson"),
        ("query", "runs.ndjson", "--csv"),
        ("query", "runs.ndjson", f'SELECT 1 AS "{HOSTILE}"'),
        ("query", "runs.ndjson", "--columns", f"{HOSTILE}"),
        ("fit", "runs.ndjson", "power", "--x", "N=N"),
    ],
)
def test_nothing_that_a_table_holds_controls_the_terminal(folder: Path, words: tuple[str, ...]) -> None:
    rows = [{"N": 10.0**n, "val_loss": 3.0 - n / 10, "recipe": f"{HOSTILE}{n % 2}"} for n in range(6)]
    (folder / "runs.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = on_a_terminal(folder, *words)
    assert re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "").isprintable(), text
    assert "a\\x1b[2J" in text


@pytest.mark.process
def test_a_bar_and_a_screen_still_draw(folder: Path) -> None:
    assert "\x1b[2K" in on_a_terminal(folder, "launch", "é.toml", "--store", "s", "--cluster", "inline")
    code = (
        "import sys; from sweeplaw.orchestrator.cli.shared.streams import secure; secure(); import time; sys.argv = {}"
    )
    watch = "; from sweeplaw.orchestrator.cli import main; time.sleep = lambda seconds: sys.exit(0); main()"
    (folder / "watch.py").write_text(code.format(["sweeplaw", "watch", "s"]) + watch)
    controller, terminal = pty.openpty()
    subprocess.run([sys.executable, "watch.py"], cwd=folder, stdout=terminal, check=True, timeout=60)
    assert b"\x1b[1ms" in os.read(controller, 100)  # the name in bold
    os.close(controller)
    os.close(terminal)
