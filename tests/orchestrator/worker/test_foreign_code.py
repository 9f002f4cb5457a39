"""Whatever the code of a trial does, its trial gets a row, the next one a clean process, and the driver its streams."""

from __future__ import annotations

import asyncio
import contextlib
import locale
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.orchestrator.worker.stream import RowStream
from sweeplaw.trials.record import TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import attempt_log
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.user_code import leftovers

MODULE = "foreign_code_under_test"
Run = Callable[..., list[TrialRecord]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run trials of ``f`` in the given source, one for each value of its knob ``mode``; return their records."""
    before = list(sys.path)

    def ran(source: str, modes: int = 1, **settings: Any) -> list[TrialRecord]:
        (tmp_path / f"{MODULE}.py").write_text(source)
        options = {"folder": str(tmp_path), "knobs": {"mode": 0}}
        workload = registry.load(f"python:{MODULE}:f", options)
        specs = [TrialSpec.of(workload.name, workload.knobs, {"mode": mode}).canonical() for mode in range(modes)]
        (tmp_path / "logs").mkdir(exist_ok=True)
        job = worker.Job("p", workload.name, options, tuple(specs), (1,) * modes, "t", "L", logs=str(tmp_path / "logs"))
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        context = worker.make_context(job, device="cpu", folder=scratch)
        rows = list(worker.run(job, context, provenance("cpu", None), **settings))
        return [row for row in rows if isinstance(row, TrialRecord)]

    yield ran
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


def printed(tmp_path: Path) -> list[bytes]:
    """What each trial printed, in the order they ran."""
    (log,) = (tmp_path / "logs").iterdir()
    return [section.output for section in attempt_log.sections(log.read_bytes())]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("asyncio.CancelledError('x')", "CancelledError: x"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GeneratorExit", "GeneratorExit"),
        ("SystemExit(0)", "SystemExit: 0"),
        ("BaseException('b')", "BaseException: b"),
        ("Silent()", "Silent without a text: it raises SystemExit"),
        ("ValueError('\\ud800' + 10_000_000 * 'y')", "ValueError: ?yyy"),
        ("BaseExceptionGroup('g', [KeyboardInterrupt()])", "BaseExceptionGroup: g"),
    ],
)
@pytest.mark.parametrize("form", ["{raised}", "yield 1.0; {raised}", "report(val_loss=1.0); {raised}"])
def test_whatever_it_raises_is_a_failed_row_and_the_next_trial_runs(
    run: Run, tmp_path: Path, form: str, raised: str, words: str
) -> None:
    body = form.format(raised=f"raise {raised}")
    source = f"""
import asyncio
class Silent(Exception):
    def __str__(self): raise SystemExit
def f(config{", report" if "report" in body else ""}):
    if config["mode"] == 0: {body}
    {"yield {'val_loss': 2.0}" if "yield" in body else "return 2.0"}
"""
    first, second = run(source, 2)
    assert (first.outcome.state, second.outcome.state) == ("failed", "completed")
    assert first.outcome.message is not None
    assert words in first.outcome.message
    assert len(first.outcome.message) < 4200
    first.outcome.message.encode()
    (log,) = printed(tmp_path)
    assert log.startswith(b"Traceback (most recent call last):\n  File") or b"Exception Group Traceback" in log
    assert MODULE.encode() in log
    assert b"function_thread" not in log, "the traceback begins in the user's code"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("Evil(1.0)", "KeyboardInterrupt"),
        ("{'val_loss': Evil(1.0)}", "KeyboardInterrupt"),
        ("{'val_loss': Unprintable()}", "Unprintable without a text"),
        ("(x for x in 'ab')", "'a' is not a number"),
        ("{'val_loss': 1, 2: 3}", "2, which is not text"),
        ("{'val_loss': 1, 'x' * 1000: 3}", "1000 characters"),
        ("Items({'val_loss': 1})", "GeneratorExit"),
        ("[1.0] * 200_000", "is not a number"),
    ],
)
def test_a_result_with_code_of_its_own_fails_its_trial_only(run: Run, returned: str, words: str) -> None:
    source = f"""
import collections
class Evil(float):
    def __float__(self): raise KeyboardInterrupt
class Unprintable:
    def __repr__(self): raise SystemExit
class Items(dict):
    def items(self): raise GeneratorExit
def f(config):
    return {returned} if config["mode"] == 0 else 2.0
"""
    first, second = run(source, 2)
    assert (first.outcome.state, second.outcome.state) == ("failed", "completed")
    assert words in str(first.outcome.message)
    assert len(str(first.outcome.message)) < 4200


CHANGES = """
import gc, locale, os, random, signal, sys, threading, time
import numpy
def umask():
    if sys.platform != "linux": return 0
    with open("/proc/self/status") as status:
        return next(line for line in status if line.startswith("Umask"))
def state():
    return {
        "folder": os.getcwd(),
        "umask": umask(),
        "environment": os.environ.get("FOREIGN", ""),
        "locale": locale.setlocale(locale.LC_ALL),
        "errors": str(numpy.geterr()),
        "tracer": str((sys.gettrace(), threading.gettrace())),
        "limit": str(sys.getrecursionlimit()),
        "collects": str(gc.isenabled()),
        "descriptors": str([os.fstat(number).st_ino for number in range(3)]),
        "streams": str((sys.stdout.closed, sys.stderr.closed)),
        "timers": str(max(signal.getitimer(timer) for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF))),
        "hooks": str((threading.excepthook, sys.excepthook, sys.unraisablehook, sys.displayhook)),
    }
def change():
    os.chdir("/"); os.environ["FOREIGN"] = "1"
    if sys.platform == "linux": os.umask(0o777)
    locale.setlocale(locale.LC_ALL, "C.UTF-8"); numpy.seterr(all="ignore")
    sys.settrace(lambda *a: None); threading.settrace(lambda *a: None); sys.setrecursionlimit(10_000); gc.disable()
    signal.setitimer(signal.ITIMER_REAL, 60); signal.setitimer(signal.ITIMER_PROF, 60)
    threading.excepthook = sys.excepthook = sys.unraisablehook = sys.displayhook = lambda *a: os._exit(3)
    sys.stdout.close(); os.close(0); os.close(2)
def f(config):
    result = {"val_loss": 1.0, **state()}
    if config["mode"] == 0: change()
    return result
"""


@pytest.mark.heavy
def test_what_a_trial_changes_for_the_process_is_restored_before_the_next(run: Run) -> None:
    before = os.getcwd(), os.environ.copy(), locale.setlocale(locale.LC_ALL)
    first, second = run(CHANGES, 2)
    assert first.outcome.state == second.outcome.state == "completed", first.outcome.message
    assert first.outcome.metrics == second.outcome.metrics
    assert before == (os.getcwd(), os.environ.copy(), locale.setlocale(locale.LC_ALL))


@pytest.mark.heavy
@pytest.mark.process
@pytest.mark.parametrize("loop", ["os.closerange(0, 65536)", "[close(number) for number in range(0, 65536)]"])
def test_what_the_process_had_open_is_closed_by_no_trial_as_a_daemon_closes_it(
    run: Run, tmp_path: Path, loop: str
) -> None:
    source = f"""
import contextlib, os
def close(number):
    with contextlib.suppress(OSError): os.close(number)
def is_open(number):
    try: os.fstat(number)
    except OSError: return False
    return True
def f(config):
    own = os.open("/dev/null", os.O_RDONLY)
    if not (child := os.fork()):
        {loop}
        os._exit(is_open(NUMBER))
    left = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    {loop}
    return {{"val_loss": 1.0, "own": is_open(own), "left": left}}
"""
    with (tmp_path / "of the driver").open("w") as file:
        (record,) = run(source.replace("NUMBER", str(file.fileno())))
        file.write("still open")
    assert record.outcome.state == "completed", record.outcome.message
    assert {name: record.outcome.metrics[name] for name in ("own", "left")} == {"own": 0.0, "left": 0.0}
    assert (tmp_path / "of the driver").read_text() == "still open"


@pytest.mark.heavy
def test_the_types_and_modes_of_torch_are_restored_and_it_is_seeded(run: Run) -> None:
    source = """
import torch
def f(config):
    result = {"val_loss": float(torch.rand(1)), "kind": str((torch.get_default_dtype(), torch.is_grad_enabled()))}
    if config["mode"] == 0:
        torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); torch.manual_seed(7)
        torch.set_default_device("meta")
    return result
"""
    first, second = run(source, 2)
    _, again = run(source, 2)
    assert first.outcome.metrics["kind"] == second.outcome.metrics["kind"] == "(torch.float32, True)"
    assert first.outcome.metrics["val_loss"] != second.outcome.metrics["val_loss"] == again.outcome.metrics["val_loss"]


def test_an_unseeded_function_is_reproducible_whatever_ran_before_and_differs_between_trials(run: Run) -> None:
    source = """
import random, numpy
def f(config): return {"val_loss": random.random(), "other": numpy.random.random()}
"""
    first, second = run(source, 2)
    random.seed(5)
    np.random.seed(5)
    _, again = run(source, 2)
    assert second.outcome.metrics == again.outcome.metrics
    assert first.outcome.metrics["val_loss"] != second.outcome.metrics["val_loss"]
    assert first.outcome.metrics["other"] != second.outcome.metrics["other"]


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")
def test_processes_left_behind_are_killed_with_what_they_started_and_a_fork_returns_nowhere(
    run: Run, tmp_path: Path
) -> None:
    source = f"""
import os, pathlib, time
def f(config):
    if os.fork() == 0:
        return 7.0
    pid = pathlib.Path("{tmp_path}/pid")
    os.posix_spawn("/bin/sh", ["sh", "-c", f"sleep 300 & echo $! > {{pid}}; wait"], os.environ)
    while not pid.exists() or not pid.read_text(): time.sleep(0.01)
    return 1.0
"""
    (record,) = run(source)
    assert (record.outcome.state, record.outcome.metrics) == ("completed", {"val_loss": 1.0})
    assert _ends(int((tmp_path / "pid").read_text()))


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux")
@pytest.mark.parametrize("detach", ["os.setsid()", "os.setpgid(0, 0)", "pass"])
def test_a_daemon_is_ended_with_its_trial(run: Run, tmp_path: Path, detach: str) -> None:
    source = f"""
import os, pathlib, time
def f(config):
    pid = pathlib.Path("{tmp_path}/pid")
    if os.fork() == 0:
        {detach}
        if os.fork() == 0:
            pid.write_text(str(os.getpid()))
            os.execve("/bin/sleep", ["sleep", "300"], {{}})
        os._exit(0)
    while not pid.exists() or not pid.read_text(): time.sleep(0.01)
    os.wait()
    return 1.0
"""
    (record,) = run(source)
    assert record.outcome.state == "completed"
    assert _ends(int((tmp_path / "pid").read_text()))


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux")
@pytest.mark.parametrize("same_tick", [False, True])
def test_a_process_from_before_the_trial_that_is_orphaned_meanwhile_lives_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_tick: bool
) -> None:
    if same_tick:  # of the clock in which Linux says when a process started
        monkeypatch.setattr(leftovers, "_clock_ticks", lambda: 0)
    pid, go = tmp_path / "pid", tmp_path / "go"
    shell = f"sleep 300 & echo $! > {pid}.new; mv {pid}.new {pid}; until [ -e {go} ]; do sleep 0.05; done"
    parent = subprocess.Popen(["/bin/sh", "-c", shell], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not pid.exists():
        time.sleep(0.01)
    orphan = int(pid.read_text())
    try:
        source = f"""
import pathlib, time
def f(config):
    pathlib.Path("{go}").touch()
    while pathlib.Path("/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1] == "{parent.pid}":
        time.sleep(0.01)
    return 1.0
"""
        (record,) = run(source)
        assert record.outcome.state == "completed"
        assert _runs(orphan)
    finally:
        go.touch()
        parent.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def _ends(pid: int) -> bool:
    until = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Output


@pytest.mark.parametrize(
    "change",
    [
        "sys.stdout.write = sys.stdout.flush = sys.stderr.write = never",
        "sys.stdout.close = sys.stdout.buffer.write = sys.stdout.buffer.flush = sys.stdout.buffer.close = never",
        "sys.stdout.detach(); sys.stderr.detach().close()",
        "sys.stdout.reconfigure(encoding='utf-16', errors='strict')",
        "sys.stdout.write = raises; sys.__stdout__.write = sys.__stderr__.flush = raises",
        "del sys.stdout, sys.stderr",
    ],
)
def test_what_a_trial_does_to_its_streams_holds_nothing_up_and_ends_with_it(
    run: Run, tmp_path: Path, change: str
) -> None:
    source = f"""
import sys, threading
def never(*a): threading.Event().wait()
def raises(*a): raise RuntimeError("a stream of the trial's own")
def f(config):
    if config["mode"] == 1: print("né"); print("e", file=sys.__stderr__, end=""); return 1.0
    {change}
    return 1.0
"""
    assert [record.outcome.state for record in run(source, 2)] == ["completed", "completed"]
    assert printed(tmp_path)[-1] == "né\n".encode()


PRINTS = """
import os, sys, threading
def f(config):
    if config["mode"] == 1: return 1.0
    print("on stdout"); print("on stderr", file=sys.stderr); sys.stdout.buffer.write(b"\\xff\\n")
    thread = threading.Thread(target=print, args=("in a thread",)); thread.start(); thread.join()
    return 1.0
"""


def test_what_a_trial_prints_is_in_its_log_and_not_on_our_streams(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(PRINTS, 2)
    assert printed(tmp_path) == [b"on stdout\non stderr\n\xff\nin a thread\n"]
    assert capfd.readouterr() == ("", "")


def test_a_pack_that_prints_nothing_leaves_no_log(run: Run, tmp_path: Path) -> None:
    run("def f(config): return 1.0", 3)
    assert list((tmp_path / "logs").iterdir()) == []


@pytest.mark.process
def test_in_a_process_of_its_own_children_and_c_libraries_print_to_the_log_too(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = """
import os
def f(config):
    os.write(1, b"descriptor\\n"); os.system("echo child; echo error >&2"); print("python")
    return 1.0
"""
    run(source, own_process=True)
    os.write(1, b"after\n")
    assert printed(tmp_path) == [b"descriptor\nchild\nerror\npython\n"]
    assert capfd.readouterr() == ("after\n", "")


def test_threads_of_the_driver_print_as_before_while_a_trial_runs(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, printed_ = threading.Event(), threading.Event()

    def driver() -> None:
        begun.wait(10)
        print("of the driver")
        printed_.set()

    sys.modules["foreign_events"] = type(sys)("foreign_events")
    sys.modules["foreign_events"].__dict__.update(begun=begun, printed=printed_)
    thread = threading.Thread(target=driver)
    thread.start()
    run("import foreign_events\ndef f(c):\n  foreign_events.begun.set(); foreign_events.printed.wait(10); return 1.0")
    thread.join()
    del sys.modules["foreign_events"]
    assert capsys.readouterr().out == "of the driver\n"
    assert list((tmp_path / "logs").iterdir()) == []


# Jobs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not JSON", "cannot read its spec: not JSON"),
        ("[1, 2]", "cannot read its spec"),
        ('{"workload":"surrogate"}', "cannot read its spec"),
        ('{"knobs":{"lr":0.1},"workload":"surrogate"}', "its spec has no knob"),
        ("lr", "lr = '0.1' is no value of this knob (float)"),
        ("params", "params = 1.5 is no value of this knob (int)"),
    ],
)
def test_a_spec_that_the_worker_cannot_run_is_a_failed_row_of_its_own_id(tmp_path: Path, text: str, words: str) -> None:
    workload = registry.load("surrogate", {})
    good = TrialSpec.of("surrogate", workload.knobs, {"params": 1000, "tokens": 50})
    changes: dict[str, dict[str, Any]] = {"lr": {"lr": "0.1"}, "params": {"params": 1.5}}
    wrong = changes.get(text)
    bad = TrialSpec("surrogate", dict(good.knobs) | wrong).canonical() if wrong else text
    job = worker.Job("p", "surrogate", {}, (bad, good.canonical()), (1, 1), "t", "L")
    context = worker.make_context(job, device="cpu", folder=tmp_path)
    rows = list(worker.run(job, context, provenance("cpu", None)))
    first, second = (row for row in rows if isinstance(row, TrialRecord))
    assert (first.outcome.state, second.outcome.state) == ("failed", "completed")
    assert words in str(first.outcome.message)
    assert first.row()["trial_id"] == first.outcome.trial_id == TrialSpec.unreadable(bad).trial_id
    assert first.row()["spec"] == bad


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_stream_ends_with_an_error_however_its_thread_ends(error: type[BaseException]) -> None:
    def rows(folder: Path) -> Any:
        raise error

    stream = RowStream(rows)
    assert stream.take(10.0, 10) == []
    assert stream.ended
    assert error.__name__ in str(stream.error)
