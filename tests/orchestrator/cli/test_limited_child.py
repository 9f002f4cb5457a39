"""A query that would not end, or would exhaust the machine, is ended with one message."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeplaw.orchestrator.cli.shared import limited_child

pytestmark = pytest.mark.process

ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r"
SMALL = "from sweeplaw.orchestrator.cli.shared import limited_child; limited_child.SHARE = {share}; "
MAIN = "from sweeplaw.orchestrator.cli import main; main()"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("val_loss\n2.5\n")
    return str(path)


def command(file, sql, *options, share=0.5):
    return [sys.executable, "-c", SMALL.format(share=share) + MAIN, "query", file, sql, *options]


def run(*arguments, **settings):
    return subprocess.run(command(*arguments, **settings), capture_output=True, text=True)


def test_a_query_ends_at_its_time_limit(file):
    done = run(file, ENDLESS, "--timeout", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"sweeplaw: the query took longer than 2 s (--timeout allows more) and was ended: {ENDLESS!r}\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux only")
def test_a_query_ends_at_its_memory_limit(file):
    memory = int(next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line))
    done = run(file, "SELECT * FROM generate_series(1, 1000000000000)", share=min(0.5, 2**20 / memory))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sweeplaw: the query needs more than 1.")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux only")
def test_a_lower_limit_of_the_process_is_kept_and_named(file):
    def limited(sql):
        limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))  # noqa: E731 - `ulimit -d`
        return subprocess.run(command(file, sql, share=0.1), capture_output=True, text=True, preexec_fn=limit)

    assert limited("SELECT val_loss FROM trials").returncode == 0
    done = limited("SELECT * FROM generate_series(1, 1000000000000)")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sweeplaw: the query needs more than 1.1 GB (a limit of this process, `ulimit`) and")


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux only")
@pytest.mark.parametrize("kind", [resource.RLIMIT_DATA, resource.RLIMIT_AS])
@pytest.mark.parametrize("limits", [(4096, 8192), (4096, 4096), (4096, resource.RLIM_INFINITY)])
def test_the_lowest_limit_of_a_process_bounds_a_query(monkeypatch, kind, limits):
    none = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda asked: limits if asked == kind else none)
    assert limited_child._memory_limit() == (4096, "a limit of this process, `ulimit`")


def test_an_answer_within_the_limits_has_its_exit_code_and_output(file):
    assert run(file, "SELECT val_loss FROM trials", "--csv").stdout == "val_loss\n2.5\n"
    refused = run(file, "SELECT x FROM trials")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_query_with_its_child(file, number):
    with subprocess.Popen(command(file, ENDLESS), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("the system does not list children")
        while not children.read_text().split() and process.poll() is None:
            pass
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.read() == b""  # ends when every process that holds it has ended
    assert process.returncode in (130, 143, -number)


def test_the_wait_for_a_query_ends_soon_after_a_signal_that_came_just_before_it(monkeypatch):
    """Such a signal does not interrupt the wait, and Python sees it with the next one: that of a timer."""
    done = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "setitimer", lambda *given: done.append(given))

    def ended(*_):
        done.append("wait")
        return 1, 0

    monkeypatch.setattr(os, "waitpid", ended)
    assert limited_child._ended(1, 300.0, "SELECT 1", ()) == 0
    assert done == [(signal.ITIMER_REAL, 0.5, 0.5), "wait", (signal.ITIMER_REAL, 0)]
