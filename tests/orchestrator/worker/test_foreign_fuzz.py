"""Trials that misbehave in several ways at once each get their row in time, and the trial after each is unharmed.

``SWEEPLAW_FUZZ=10`` runs ten times as many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.heavy]

BATCHES = 2 * int(os.environ.get("SWEEPLAW_FUZZ", "1"))
TRIALS = 24  # misbehaving ones of a batch; each is followed by one that behaves
SECONDS = 5.0  # for one trial
MARK = "30211"  # seconds that a process left behind sleeps

MODULE = """
import asyncio, decimal, gc, locale, os, random, signal, subprocess, sys, threading, time
import numpy

def never(*a): threading.Event().wait()
def raises(*a): raise RuntimeError("of the trial's own")
def forks(*steps):
    if os.fork() == 0:
        for step in steps: step()
        if os.fork() == 0: os.execve("/bin/sleep", ["sleep", "{mark}"], {{}})
        os._exit(0)
def joined(thread):  # it opens files to print its traceback, and what threads leave behind is not isolated
    thread.start(); thread.join()
class Odd(BaseException):
    def __str__(self): raise SystemExit
class Evil(float):
    def __float__(self): raise KeyboardInterrupt
class Never(dict):
    def items(self): raise GeneratorExit

CHANGES = [
    lambda: setattr(sys.stdout, "write", raises), lambda: setattr(sys.stdout, "flush", never),
    lambda: setattr(sys.stdout.buffer, "close", never), lambda: setattr(sys.stderr, "close", never),
    lambda: setattr(sys, "stdout", None), lambda: sys.stdout.detach(),
    lambda: delattr(sys, "stderr"), lambda: os.close(0), lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1),
    lambda: os.closerange(0, 3), lambda: os.environ.clear(), lambda: os.chdir("/proc/self"),
    lambda: signal.setitimer(signal.ITIMER_REAL, 0.01), lambda: signal.alarm(1), lambda: gc.disable(),
    lambda: sys.setrecursionlimit(len_of_stack() + 30), lambda: sys.settrace(raises),
    lambda: threading.settrace(raises), lambda: sys.setprofile(raises), lambda: setattr(sys, "excepthook", raises),
    lambda: setattr(threading, "excepthook", raises), lambda: setattr(sys, "unraisablehook", raises),
    lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    lambda: numpy.seterr(all="raise"), lambda: setattr(decimal.getcontext(), "prec", 1),
    lambda: threading.Thread(target=time.sleep, args=(0.5,)).start(),
    lambda: joined(threading.Thread(target=raises)),
    lambda: subprocess.Popen(["sleep", "{mark}"]), lambda: os.system("sleep {mark} &"),
    lambda: forks(), lambda: forks(os.setsid), lambda: forks(lambda: os.setpgid(0, 0)),
    lambda: subprocess.Popen(["sh", "-c", "trap '' TERM; sleep {mark} & wait"]),
    lambda: print("x" * 1_000_000), lambda: os.write(2, b"y" * 100_000), lambda: print("\\ud800\\x1b[2J"),
    lambda: asyncio.new_event_loop(), lambda: random.seed(1), lambda: locale.setlocale(locale.LC_NUMERIC, "C"),
]
def len_of_stack():
    frame, number = sys._getframe(), 0
    while frame: frame, number = frame.f_back, number + 1
    return number
def thrown(error): raise error
def deep(): return deep()
ENDS = [
    lambda: 1.0, lambda: {{"val_loss": 1.0}}, lambda: thrown(asyncio.CancelledError()),
    lambda: thrown(KeyboardInterrupt()), lambda: thrown(GeneratorExit()), lambda: thrown(SystemExit(0)),
    lambda: thrown(Odd()), lambda: thrown(StopIteration(1)),
    lambda: thrown(BaseExceptionGroup("g", [KeyboardInterrupt()])), lambda: thrown(ValueError("z" * 10_000_000)), deep,
    lambda: {{"val_loss": Evil(1)}}, lambda: Never(val_loss=1.0), lambda: [1] * 100_000, lambda: {{None: 1}},
    lambda: None,
    lambda: {{"val_loss": "text"}}, lambda: float("nan"), lambda: {{"val_loss": 10**400}}, lambda: object(),
]
def points(draw):
    for step in range(3): yield {{"step": step, "val_loss": 1.0}}
    try: yield {{"step": draw.choice([-1, 3, 1e300, "a"]), "val_loss": 1.0}}
    finally: draw.choice(ENDS)()
def f(config):
    if config["mode"] % 2:
        assert subprocess.run(["true"]).returncode == 0
        print("well", file=sys.stdout)
        closed = sum(not os.path.exists(f"/proc/self/fd/{{n}}") for n in range(3))
        return {{"val_loss": 2.0, "folder": os.getcwd(), "names": len(os.environ), "limit": sys.getrecursionlimit(),
                "closed": closed, "traced": str((sys.gettrace(), sys.getprofile(), sys.excepthook))}}
    draw = random.Random(config["mode"] + {seed})
    for change in draw.sample(CHANGES, draw.randint(1, 4)): change()
    return points(draw) if draw.random() < 0.2 else draw.choice(ENDS)()
"""

RUNNER = """
import json, os, signal, sys, time
from pathlib import Path
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.orchestrator.worker.stream import RowStream
from sweeplaw.trials.record import TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads import registry

signal.signal(signal.SIGALRM, lambda *_: None)  # as the inline backend does
folder, count = Path(sys.argv[1]), int(sys.argv[2])
options = {"folder": str(folder), "knobs": {"mode": 0}}
workload = registry.load("python:hostile_trials:f", options)
specs = tuple(TrialSpec.of(workload.name, workload.knobs, {"mode": mode}).canonical() for mode in range(count))
(folder / "logs").mkdir()
job = worker.Job("p", workload.name, options, specs, (1,) * count, "t", "L", logs=str(folder / "logs"))
stream = RowStream(lambda scratch: worker.run(
    job, worker.make_context(job, device="cpu", folder=scratch), provenance("cpu", None), own_process=True))
found, since = [], time.monotonic()
while not stream.ended and time.monotonic() - since < 60:
    for row in stream.take(0.05, 100):
        if isinstance(row, TrialRecord):
            now = time.monotonic()
            outcome = row.outcome
            found.append([row.spec["mode"], outcome.state, outcome.message, dict(outcome.metrics), now - since])
            since = now
Path(sys.argv[3]).write_text(json.dumps({"rows": found, "error": stream.error}))
os._exit(0)
"""


@pytest.mark.timeout(60 + 60 * BATCHES)
@pytest.mark.skipif(sys.platform != "linux", reason="what is left behind is found on Linux")
def test_a_trial_that_misbehaves_in_any_way_ends_in_time_and_harms_no_other(tmp_path: Path) -> None:
    for batch in range(BATCHES):
        folder = tmp_path / str(batch)
        folder.mkdir()
        (folder / "hostile_trials.py").write_text(MODULE.format(mark=MARK, seed=1000 * batch))
        answer = folder / "answer.json"
        command = [sys.executable, "-c", RUNNER, str(folder), str(2 * TRIALS), str(answer)]
        log = folder / "output"
        with log.open("wb") as output:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=300, check=True)
        found = json.loads(answer.read_text())
        rows = {mode: rest for mode, *rest in found["rows"]}
        assert found["error"] is None
        assert sorted(rows) == list(range(2 * TRIALS)), (batch, log.read_text(errors="replace")[-2000:])
        assert {state for state, *_ in rows.values()} <= {"completed", "failed", "diverged"}
        well = [rows[mode] for mode in range(1, 2 * TRIALS, 2)]
        assert [state for state, *_ in well] == ["completed"] * TRIALS, (batch, well)
        assert all(metrics == well[0][2] for _, _, metrics, _ in well), batch
        assert max(seconds for *_, seconds in rows.values()) < SECONDS
        assert not left_behind(), batch


def left_behind() -> list[str]:
    """Return the command lines of processes that trials have left behind."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", MARK.encode()]:
            found.append(str(path))
    return found
