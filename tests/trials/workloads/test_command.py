"""A user's script: its arguments and environment, its reports, its outcome, and its cleanup."""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.orchestrator.plan import sweep
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.user_code import script
from sweeplaw.trials.workloads.user_code.growing_file import PIECE, GrowingFile
from sweeplaw.trials.workloads.user_code.process import CHUNK
from sweeplaw.trials.workloads.user_code.reports import Reports
from sweeplaw.trials.workloads.user_code.script import LINE_LIMIT
from tests.paths import ROOT
from tests.processes import command_line

pytestmark = pytest.mark.kill

DONE = """echo '{"val_loss": 1.5}'"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Load a shell script as a workload; options are those of a sweep file."""

    def loaded(script: str, *arguments: str, **options: Any) -> Any:
        (tmp_path / "train.sh").write_text(script)
        given = {"argv": ["/bin/sh", "train.sh", *arguments], "folder": str(tmp_path), "grace_seconds": 0.3}
        return registry.load("command", {**given, **options})

    return loaded


@pytest.fixture
def start(load: Callable[..., Any], tmp_path: Path) -> Callable[..., Iterator[Any]]:
    def started(script: str, *arguments: str, values: dict[str, Any] | None = None, **options: Any) -> Iterator[Any]:
        workload = load(script, *arguments, **options)
        spec = TrialSpec.of(workload.name, workload.knobs, values or {})
        return workload.run([spec], Context("cpu", tmp_path / "pack", threads=3))

    return started


@pytest.fixture
def run(start: Callable[..., Iterator[Any]]) -> Callable[..., tuple[list[CurvePoint], Outcome]]:
    def ran(script: str, *arguments: str, **options: Any) -> tuple[list[CurvePoint], Outcome]:
        *points, outcome = start(script, *arguments, **options)
        return points, outcome

    return ran


def folder_of(tmp_path: Path, outcome: Outcome) -> Path:
    return tmp_path / "pack" / outcome.trial_id


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Return whether the process ends in time. A zombie that waits for its parent has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not command_line(pid):
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path) -> str:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} was not written")


# Arguments and environment


def test_arguments_are_filled_and_never_seen_by_a_shell(run: Any, tmp_path: Path) -> None:
    nasty = "$(touch gone); `id` 'x' \"y\" * \\ {z}"
    script = f'for a in "$@"; do printf "%s\\n" "$a"; done; {DONE}'
    _, outcome = run(
        script, "{text}", "--lr={lr}", "{lr:.1e}", "{flag}", "{{literal}}", "{n:04d}", "{trial_id}", "{threads}",
        knobs={"text": nasty, "lr": 1e-5, "flag": True, "n": 7},
    )  # fmt: skip
    printed = (folder_of(tmp_path, outcome) / "stdout.log").read_text().splitlines()
    expected = [nasty, "--lr=1e-05", "1.0e-05", "true", "{literal}", "0007", outcome.trial_id, "3"]
    assert printed[:-1] == expected
    assert not (tmp_path / "gone").exists()


def test_the_spec_is_a_json_file_named_in_argument_and_environment(run: Any, tmp_path: Path) -> None:
    script = f'cat "$1"; [ "$1" = "$SWEEPLAW_SPEC_FILE" ] || exit 9; {DONE}'
    _, outcome = run(script, "{spec_file}", knobs={"lr": 0.1, "name": "ü"}, values={"lr": 3})
    spec = json.loads((folder_of(tmp_path, outcome) / "spec.json").read_text())
    assert spec == {"trial_id": outcome.trial_id, "knobs": {"lr": 3.0, "name": "ü", "seed": 0}}
    assert outcome.state == "completed"


def test_the_environment_is_inherited_and_extended(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    script = f'echo "$CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $MY_LR $PYTHONUNBUFFERED"; {DONE}'
    _, outcome = run(script, knobs={"lr": 0.5}, env={"MY_LR": "<{lr}>", "PYTHONUNBUFFERED": ""})
    assert (folder_of(tmp_path, outcome) / "stdout.log").read_text().splitlines()[0] == "5 3 <0.5> "


@pytest.mark.parametrize(("cwd", "expected"), [(".", "{here}"), ("sub", "{here}/sub"), ("{folder}", "{own}")])
def test_it_runs_in_the_requested_folder(run: Any, tmp_path: Path, cwd: str, expected: str) -> None:
    (tmp_path / "sub").mkdir()
    argv = ["/bin/sh", "{sweep_folder}/train.sh"]
    _, outcome = run(f"pwd -P; {DONE}", argv=argv, cwd=cwd)
    own = folder_of(tmp_path, outcome)
    expected = expected.format(here=tmp_path.resolve(), own=own.resolve())
    assert (own / "stdout.log").read_text().splitlines()[0] == expected


def test_its_standard_input_is_empty(run: Any) -> None:
    assert run(f"read x; {DONE}")[1].state == "completed"


# Reports


def test_lines_become_curve_points_and_the_last_loss_is_the_outcome(run: Any) -> None:
    script = """
echo 'loading data'
echo '{"step": 10, "tokens": 640, "train_loss": 3, "lr": 0.1, "grad_norm": 2, "accuracy": 0.1}'
echo '{"step": 20, "val_loss": 2.5, "accuracy": 0.2}'
echo '{"seconds": 3, "event": "not a report"}'
printf '{"step": 30, "train_loss": 2.25}'
"""
    points, outcome = run(script)
    assert [(p.step, p.tokens, p.train_loss, p.val_loss) for p in points] == [
        (10, 640, 3.0, None),
        (20, None, None, 2.5),
        (30, None, 2.25, None),
    ]
    assert (points[0].lr, points[0].grad_norm, points[0].metrics) == (0.1, 2.0, {"accuracy": 0.1})
    assert (outcome.state, outcome.last_step) == ("completed", 30)
    assert outcome.metrics == {"accuracy": 0.2, "train_loss": 2.25, "val_loss": 2.5}


def test_a_final_line_is_not_a_point_and_may_contain_text(run: Any) -> None:
    script = """
echo '{"step": 1, "val_loss": 3}'
echo '{"final": true, "val_loss": 2, "note": "x", "params": 124, "ok": true, "list": [1]}'
"""
    points, outcome = run(script)
    assert len(points) == 1
    assert outcome.metrics == {"val_loss": 2.0, "note": "x", "params": 124, "ok": True}


def test_points_arrive_while_the_script_runs(start: Any) -> None:
    events = start("""echo '{"val_loss": 1}'; sleep 60""")
    started = time.monotonic()
    assert next(events).val_loss == 1.0
    events.close()
    assert time.monotonic() - started < 10


def test_all_output_is_logged_and_only_reports_are_parsed(run: Any, tmp_path: Path) -> None:
    script = r"""
printf '\377\376{"step": 1, "val_loss": 9}\n'
printf '\0{"step"\n[1, 2]\n{"step": 2,\n"text"\n{}\nnull\n'
printf 'progress 10%%\rprogress 99%%\r{"step": 3, "val_loss": 1}\r\n'
"""
    points, outcome = run(script)
    assert [(point.step, point.val_loss) for point in points] == [(3, 1.0)]
    log = (folder_of(tmp_path, outcome) / "stdout.log").read_bytes()
    assert log.startswith(b'\xff\xfe{"step": 1')
    assert log.endswith(b'"val_loss": 1}\r\n')


def test_a_huge_line_and_a_deeply_nested_one_are_ignored_and_the_next_is_read(run: Any, tmp_path: Path) -> None:
    code = """
import sys
sys.stdout.write("x" * 5_000_000 + "\\n")
sys.stdout.write('{"step": 1, "val_loss": ' + "[" * 100_000 + "\\n")
sys.stdout.write('{"step": 2, "val_loss": 2, "pad": "' + "y" * 300_000 + '"}\\n')
sys.stdout.write('{"step": 3, "val_loss": 1, "big": 1' + "0" * 400 + "}")
"""
    (tmp_path / "train.py").write_text(code)
    points, outcome = run("", argv=["{python}", "train.py"])
    assert [(point.step, point.val_loss) for point in points] == [(2, 2.0), (3, 1.0)]
    assert (folder_of(tmp_path, outcome) / "stdout.log").stat().st_size > 5_000_000 > CHUNK


@pytest.mark.parametrize("before", ["", "x" * 100])
def test_a_line_beyond_the_limit_is_skipped_to_its_end_and_noted(run: Any, tmp_path: Path, before: str) -> None:
    """Its beginning is never spliced with what follows: `2.5` was once read as 21234."""
    code = f"""
import sys
sys.stdout.write('{before}{{"step": 1, "pad": "' + "y" * ({LINE_LIMIT} - 40 - {len(before)}) + '", "val_loss": 2')
sys.stdout.flush()
sys.stdout.write("1" * 100_000 + "234}}\\n")
sys.stdout.write('{{"step": 2, "val_loss": 2.5}}\\n')
"""
    (tmp_path / "train.py").write_text(code)
    points, outcome = run("", argv=["{python}", "train.py"])
    assert [(point.step, point.val_loss) for point in points] == [(2, 2.5)]
    assert outcome.metrics["val_loss"] == 2.5
    assert outcome.message == "note: 1 report or other lines of more than 1 MiB, ignored"


def test_a_progress_bar_of_any_length_hides_no_report(run: Any, tmp_path: Path) -> None:
    code = """
import sys
for at in range(400_000): sys.stdout.write(f"{at:6d}%\\r")
sys.stdout.write('{"step": 2, "val_loss": 2.5}\\n')
"""
    (tmp_path / "train.py").write_text(code.replace("\\\\", "\\"))
    points, outcome = run("", argv=["{python}", "train.py"])
    assert ([point.step for point in points], outcome.message) == ([2], None)


def test_lines_are_the_same_however_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a line split as a whole: what the last carriage return left of it, unless that is too long."""
    monkeypatch.setattr(script, "LINE_LIMIT", 8)
    rng = random.Random(18)
    for _ in range(2000):
        text = "".join(rng.choices(["\n", "\r", "\r\n", "a", "bcd", "efghij"], k=rng.randrange(30)))
        left = [re.sub(r"^[^\n]*\r(?=[^\r])", "", line) for line in text.split("\n")]
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(6)))
        chunks = [text[begin:end].encode() for begin, end in itertools.pairwise([0, *cuts, len(text)])]
        reports = Reports(TrialSpec("command", {}))
        lines = [line.decode().rstrip("\r").rpartition("\r")[2] for line in script._lines(chunks, reports)]
        assert lines == [line.rstrip("\r") for line in left if len(line) <= 8], text
        assert reports.notes.total() == sum(len(line) > 8 for line in left), text


def test_a_report_whose_newline_comes_after_its_carriage_return_counts(run: Any, tmp_path: Path) -> None:
    code = """
import os, time
os.write(1, b'{"step": 1, "val_loss": 3.0}\\r')
time.sleep(0.3)
os.write(1, b'\\n{"step": 2, "val_loss": 2.5}\\r\\n')
"""
    (tmp_path / "train.py").write_text(code)
    points, outcome = run("", argv=["{python}", "train.py"])
    assert ([point.step for point in points], outcome.message) == ([1, 2], None)


def test_what_follows_the_final_report_is_ignored_and_noted(run: Any) -> None:
    script = """
echo '{"step": 5, "val_loss": 3}'
echo '{"final": true, "val_loss": 2}'
echo '{"step": 6, "val_loss": 9}'
echo '{"final": true, "val_loss": 8}'
"""
    points, outcome = run(script)
    assert ([point.step for point in points], outcome.metrics["val_loss"]) == ([5], 2.0)
    assert outcome.message == "note: 2 reports after the final one, ignored"


def test_a_negative_step_is_ignored_a_falling_one_kept_and_both_are_noted(run: Any) -> None:
    script = """
for step in -5 7 3 3 9; do echo "{\\"step\\": $step, \\"val_loss\\": 1.$step}"; done
"""
    points, outcome = run(script.replace("1.$step", "1"))
    assert ([point.step for point in points], outcome.last_step) == ([7, 3, 3, 9], 9)
    assert set(str(outcome.message).splitlines()) == {
        "note: 1 report ignored: a step is negative, or the name of a value is not accepted",
        "note: 2 reports with a step below an earlier one",
    }


def test_the_timeout_does_not_count_the_time_in_which_nobody_reads(start: Any) -> None:
    line = """echo '{"val_loss": 1, "pad": "0123456789012345678901234567890"}'"""
    script = f"i=0; while [ $i -lt 3000 ]; do {line}; i=$((i + 1)); done"
    events = start(script, timeout_seconds=3)
    next(events)
    time.sleep(3.5)
    assert list(events)[-1].state == "completed"


def test_all_output_reaches_the_log_of_the_trial_while_it_runs(load: Any, tmp_path: Path) -> None:
    workload = load("""echo out; echo err >&2; echo '{"val_loss": 1}'; sleep 60""")
    log: list[bytes] = []
    spec = TrialSpec.of(workload.name, workload.knobs, {})
    events = workload.run([spec], Context("cpu", tmp_path / "pack", log=log.append))
    next(events)
    assert sorted(b"".join(log).splitlines()) == [b"err", b"out", b'{"val_loss": 1}']
    events.close()


@pytest.mark.parametrize("odd", ['"step": "two"', '"step": null', '"step": NaN', '"step": [1]', '"tokens": Infinity'])
def test_values_that_are_not_numbers_are_omitted_from_a_report(run: Any, odd: str) -> None:
    points, outcome = run(f"""echo '{{{odd}, "val_loss": 2, "note": "x", "nothing": null}}'""")
    assert [(p.step, p.tokens, p.val_loss, p.metrics) for p in points] == [(0, None, 2.0, {})]
    assert outcome.state == "completed"


def test_a_metrics_file_is_read_instead_of_the_output(run: Any) -> None:
    script = """
echo '{"step": 1, "val_loss": 9}'
echo '{"step": 2, "val_loss": 2}' > "$1"
exec 1>&-
sleep 0.7
printf '{"step": 3, "val_loss": 1}' >> "$1"
"""
    points, outcome = run(script, "{metrics_file}")
    assert [point.step for point in points] == [2, 3]
    assert outcome.metrics["val_loss"] == 1.0


def test_reports_of_an_earlier_attempt_are_not_read_again(load: Any, tmp_path: Path) -> None:
    workload = load("""[ -s "$1" ] && exit 7; echo '{"val_loss": 2}' >> "$1" """, "{metrics_file}")
    spec = TrialSpec.of(workload.name, workload.knobs, {})
    for _ in range(2):
        assert [type(e) for e in workload.run([spec], Context("cpu", tmp_path))] == [CurvePoint, Outcome]


# Outcomes


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ("exit 0", "failed", "no val_loss"),
        ("""echo '{"step": 1, "train_loss": 1}'""", "failed", "no val_loss"),
        ("""echo '{"step": 1, "val_loss": "2.5"}'; echo why >&2""", "failed", "why"),
        (f"{DONE}; echo 'bad thing' >&2; exit 3", "failed", "exit code 3\nbad thing"),
        ("echo 'only printed'; exit 3", "failed", "only printed"),
        (r"printf 'caf\351\n' >&2; exit 1", "failed", "caf"),
        ("kill -SEGV $$", "failed", "SIGSEGV"),
        ("kill -TERM $$", "failed", "SIGTERM"),
        ("kill -KILL $$", "out_of_memory", "SIGKILL"),
        (f"{sys.executable} -c 'import os; os.kill(os.getppid(), 37)'; sleep 60", "failed", "killed by signal 37"),
        ("exit 137", "out_of_memory", "SIGKILL"),
        ("echo 'torch.OutOfMemoryError: CUDA out of memory. Tried' >&2; exit 1", "out_of_memory", "Tried"),
        ("echo MemoryError >&2; exit 1", "out_of_memory", "MemoryError"),
        ("""echo '{"final": true, "val_loss": NaN}'""", "diverged", "val_loss is nan"),
        ("""echo '{"step": 4, "val_loss": -Infinity}'; sleep 60""", "diverged", "val_loss is -inf at step 4"),
        ("""echo '{"step": 4, "train_loss": 1e999}'; sleep 60""", "diverged", "train_loss is inf at step 4"),
        ("""echo '{"step": 4, "train_loss": 60}'; sleep 60""", "diverged", "is 60.0 at step 4 (bound: 50)"),
    ],
)
def test_every_exit_is_an_outcome_with_its_reason(run: Any, script: str, state: str, words: str) -> None:
    started = time.monotonic()
    _, outcome = run(script, divergence_loss=50)
    assert (outcome.state, outcome.metrics) == (state, {})
    assert words in outcome.message
    assert time.monotonic() - started < 30  # a diverged script is stopped, not waited for


def test_the_message_is_the_end_of_a_long_stderr(run: Any) -> None:
    _, outcome = run("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i + 1)); done; exit 5")
    assert outcome.message.startswith("exit code 5\n")
    assert outcome.message.endswith("line 2999")
    assert len(outcome.message) < 2100


def test_a_script_that_exceeds_its_timeout_is_stopped_and_failed(run: Any) -> None:
    _, outcome = run(f"{DONE}; sleep 60", timeout_seconds=0.3)
    assert (outcome.state, outcome.message) == ("failed", "stopped: it ran for timeout_seconds = 0.3")


def test_a_script_that_closes_its_output_is_waited_for(run: Any, tmp_path: Path) -> None:
    _, outcome = run(f"{DONE}; exec 1>&- 2>&-; sleep 0.3; echo end > worked")
    assert outcome.state == "completed"
    assert (tmp_path / "worked").exists()


FILES = ("stdout.log", "stderr.log", "spec.json", "metrics.jsonl")
_REPLACED = f'cd "$1"; rm {" ".join(FILES)}; {{}} {" ".join(FILES)}'


@pytest.mark.parametrize("change", ['rm -r "$1"', *map(_REPLACED.format, ("mkfifo", "mkdir"))])
def test_a_script_may_remove_and_replace_what_is_in_its_folder(run: Any, change: str) -> None:
    _, outcome = run(f"{DONE} > $2; echo why >&2; sleep 0.2; {change}; exit $3", "{folder}", "{metrics_file}", "0")
    assert (outcome.state, outcome.message, outcome.metrics) == ("completed", None, {"val_loss": 1.5})
    _, outcome = run(f"echo why >&2; {change}; exit $3", "{folder}", "{metrics_file}", "3")
    assert (outcome.state, outcome.message) == ("failed", "exit code 3\nwhy")


def test_what_an_earlier_attempt_left_in_the_folder_is_replaced(run: Any, tmp_path: Path) -> None:
    left = f"{_REPLACED.format('mkfifo')}; ln -sf {tmp_path}/own spec.json"
    (tmp_path / "own").write_text("precious")
    for _ in range(2):
        _, outcome = run(f"{DONE} > $2; {left}; sleep 0.2", "{folder}", "{metrics_file}")
    assert outcome.state == "completed"
    assert (tmp_path / "own").read_text() == "precious"


@pytest.mark.parametrize("made", ["mkfifo", "mkdir", "ln -s /dev/zero"])
def test_a_file_of_reports_that_is_none_is_not_waited_for(run: Any, made: str) -> None:
    _, outcome = run(f"{made} $1/r.jsonl; sleep 60", "{folder}", reports="{folder}/r.jsonl", timeout_seconds=0.8)
    assert (outcome.state, outcome.message) == ("failed", "stopped: it ran for timeout_seconds = 0.8")


def test_a_metrics_file_that_grows_faster_than_it_is_read_holds_no_timeout_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(GrowingFile, "read", lambda self, size: b"x" * size)
    monkeypatch.setattr(GrowingFile, "size", lambda self: 3 * PIECE)
    chunks = iter([b"", b""])
    found = list(script._reports_in(chunks, GrowingFile(tmp_path / "metrics.jsonl", header=False)))
    assert len(found) * PIECE <= 2 * script.METRICS_BYTES + 3 * PIECE + 3 * PIECE


@pytest.mark.parametrize("argv", [["no-such-program-here"], ["./train.sh"], ["/"], ["{text}"]])
def test_a_program_that_cannot_start_is_the_outcome_of_its_trial(load: Any, tmp_path: Path, argv: list[str]) -> None:
    workload = load("", argv=argv, knobs={"text": "no-such-program"})
    specs = [TrialSpec.of(workload.name, workload.knobs, {"seed": seed}) for seed in range(2)]
    outcomes = list(workload.run(specs, Context("cpu", tmp_path / "pack")))
    assert [(outcome.state, outcome.message[:16]) for outcome in outcomes] == [("failed", "could not be run")] * 2


# Cleanup


def test_a_script_that_ignores_sigterm_is_killed(start: Any, tmp_path: Path) -> None:
    events = start(f"trap '' TERM; echo $$ > pid; {DONE}; while :; do sleep 0.1; done")
    next(events)
    started = time.monotonic()
    events.close()
    assert 0.2 < time.monotonic() - started < 10
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_script_has_time_to_handle_sigterm(start: Any, tmp_path: Path) -> None:
    script = f"trap 'echo saved > saved; exit 0' TERM; {DONE}; while :; do sleep 0.05; done"
    events = start(script, grace_seconds=20)
    next(events)
    events.close()
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("ending", ["exit 0", "wait", "kill -KILL $$"])
def test_processes_started_by_a_script_end_with_it(start: Any, tmp_path: Path, ending: str) -> None:
    events = start(f"sleep 60 & echo $! > pid; {DONE}; {ending}")
    next(events)
    if ending == "wait":
        events.close()
    else:
        next(events)
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="setsid is a Linux program")
@pytest.mark.parametrize(
    "daemon",
    [
        "setsid sleep 60 & echo $! > pid",
        "(setsid sh -c 'echo $$ > pid; sleep 60; :' &)",
        "(setsid sh -c 'echo $$ > pid; exec yes' &)",
    ],
)
def test_a_daemon_that_keeps_the_output_open_is_ended_and_not_waited_for(run: Any, tmp_path: Path, daemon: str) -> None:
    started = time.monotonic()
    _, outcome = run(f"{daemon}; {DONE}; exec sleep 0.2")
    assert gone(int((tmp_path / "pid").read_text()))
    assert outcome.state == "completed"
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_script_does_not_outlive_a_worker_that_is_killed(load: Any, tmp_path: Path, number: signal.Signals) -> None:
    script = f"sleep 120 & echo $! > pids; echo $$ >> pids; mv pids running; {DONE}; wait"
    (tmp_path / "train.sh").write_text(script)
    code = f"""
from pathlib import Path
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.spec import TrialSpec
w = registry.load("command", {{"argv": ["/bin/sh", "train.sh"], "folder": {str(tmp_path)!r}}})
list(w.run([TrialSpec.of(w.name, w.knobs, {{}})], Context("cpu", Path({str(tmp_path)!r}))))
"""
    worker = subprocess.Popen([sys.executable, "-c", code])
    pids = [int(pid) for pid in wait_for(tmp_path / "running").split()]
    worker.send_signal(number)
    worker.wait()
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_many_trials_leave_no_process_and_no_open_file(load: Any, tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc to count open files in")
    workload = load(DONE)
    before = len(list(descriptors.iterdir()))
    for seed in range(10):
        spec = TrialSpec.of(workload.name, workload.knobs, {"seed": seed})
        assert len(list(workload.run([spec], Context("cpu", tmp_path)))) == 2
    assert len(list(descriptors.iterdir())) == before


# Before the launch


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"argv": ["x", "{lrr}"]}, "workload.argv[1] = '{lrr}': {lrr} is not known"),
        ({"argv": ["x", "{lrr}"]}, "did you mean 'lr'?"),
        ({"argv": ["x", "{}"]}, "{} is not known"),
        ({"argv": ["x", "{0}"]}, "{0} is not known"),
        ({"argv": ["x", "{lr.__class__}"]}, "is not known"),
        ({"argv": ["x", "{lr[0]}"]}, "is not known"),
        ({"argv": ["x", "{lr!r}"]}, "plain format"),
        ({"argv": ["x", "{lr:{lr}}"]}, "plain format"),
        ({"argv": ["x", "{lr"]}, "brace"),
        ({"argv": ["x", "}"]}, "brace"),
        ({"argv": ["x", "a\0b"]}, "NUL"),
        ({"argv": ["x", 3]}, "workload.argv[1] = 3 is not text"),
        ({"argv": "python train.py"}, "is not a list of texts"),
        ({"argv": []}, "is not a list of texts"),
        ({}, "is not a list of texts"),
        ({"argv": ["x"], "env": {"A": "{B}"}}, "workload.env.A"),
        ({"argv": ["x"], "env": ["A"]}, "not a table"),
        ({"argv": ["x"], "cwd": "{lr}"}, "workload.cwd"),
        ({"argv": ["x"], "timeout_seconds": "1h"}, "workload.timeout_seconds = '1h'"),
        ({"argv": ["x"], "resources": {"gpu": 1}}, "did you mean 'gpus'?"),
        ({"argv": ["x"], "arg": []}, "did you mean 'argv'?"),
        ({"argv": ["x"], "knobs": {"folder": "a"}}, "workload.knobs.folder is taken"),
        ({"argv": ["x"], "knobs": {"command": "a"}}, "workload.knobs.command is taken"),
    ],
)
def test_an_invalid_option_is_reported_with_its_place_and_what_is_accepted(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        registry.load("command", {"axes": {"lr": [0.1]}, **options})
    assert words in str(error.value)


def test_all_faults_of_the_options_are_reported_together() -> None:
    with pytest.raises(InputError) as error:
        registry.load("command", {"argv": ["{x}", "{y}"], "cwd": 3, "grace_seconds": -1, "knobs": {"a": []}})
    assert len(error.value.faults) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"argv": ["no-such-program-here"]}, "no program 'no-such-program-here'"),
        ({"argv": ["./train.sh"]}, "no program './train.sh' that can be run"),
        ({"argv": ["{python}", "trian.py"]}, "no script 'trian.py'"),
        ({"argv": ["/bin/sh", "train.sh"], "cwd": "nowhere"}, "no folder"),
        ({"argv": ["/bin/sh", "{lr:d}"]}, "Unknown format code 'd'"),
    ],
)
def test_missing_files_of_a_command_are_reported_before_the_launch(
    load: Any, options: dict[str, Any], words: str
) -> None:
    workload = load(DONE, knobs={"lr": 0.1}, **options)
    with pytest.raises(InputError) as error:
        workload.check([TrialSpec.of(workload.name, workload.knobs, {})])
    assert words in str(error.value)


def test_arguments_and_environment_are_part_of_the_identity_and_limits_are_not(load: Any) -> None:
    def identity(*arguments: str, **options: Any) -> str:
        workload = load(DONE, *arguments, **options)
        return TrialSpec.of(workload.name, workload.knobs, {}).trial_id

    same = identity("a", env={"A": "1", "B": "2"})
    assert identity("a", env={"B": "2", "A": "1"}, timeout_seconds=5, resources={"cpus": 2}) == same
    assert len({same, identity("b", env={"A": "1", "B": "2"}), identity("a"), identity("a", "")}) == 4


def test_resources_are_available_to_the_planner(load: Any) -> None:
    assert load(DONE, resources={"cpus": 4, "gpus": 1}).resources == {"cpus": 4.0, "gpus": 1.0}


@pytest.mark.parametrize(("name", "setting"), [("own_script", {"lr": 0.1}), ("own_function", {"weight_decay": 0.01})])
def test_the_examples_improve_with_size_and_with_data(tmp_path: Path, name: str, setting: dict[str, float]) -> None:
    workload = sweep.read(ROOT / "examples" / name / "sweep.toml").workload
    losses = []
    for params, tokens in ((4, 50), (4, 400), (16, 400)):
        spec = TrialSpec.of(workload.name, workload.knobs, {**setting, "params": params, "tokens": tokens})
        workload.check([spec])
        *_, outcome = workload.run([spec], Context("cpu", tmp_path))
        assert isinstance(outcome, Outcome)
        loss = outcome.metrics["val_loss"]
        assert isinstance(loss, float)
        losses.append(loss)
    assert losses == sorted(losses, reverse=True)


RESUMING = """
at=$(cat "$1/at" 2>/dev/null || echo 0)
save() { echo $at > "$1/at"; }
trap 'save "$1"; exit 0' TERM
while [ $at -lt 40 ]; do
  at=$((at + 1))
  echo "{\\"step\\": $at, \\"val_loss\\": 2.0}"
  if [ "$2" = wait ] && [ $at -eq 7 ]; then sleep 600 & wait $!; fi
done
echo '{"final": true, "val_loss": 1.0}'
"""


def test_a_preempted_script_gets_sigterm_and_resumes_from_its_own_checkpoint(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    def attempt(mode: str, ending: Callable[[], bool]) -> list[Any]:
        workload = load(RESUMING, "{checkpoint_folder}", mode, grace_seconds=60)
        (tmp_path / mode).mkdir()
        place = Context("cpu", tmp_path / mode, checkpoints=str(tmp_path / "kept"), ending=ending)
        seen = []
        for event in workload.run([TrialSpec.of(workload.name, workload.knobs, {})], place):
            seen.append(event)
            reached.update({event.step} if isinstance(event, CurvePoint) else ())
        return seen

    reached: set[int] = set()
    # The argument differs, and so the trial's identity: its folder is moved to where a relaunch would look.
    *_, outcome = attempt("wait", lambda: 7 in reached)
    assert (outcome.state, outcome.last_step) == ("preempted", 7)
    (folder,) = (tmp_path / "kept").iterdir()
    assert (folder / "at").read_text() == "7\n"
    workload = load(RESUMING, "{checkpoint_folder}", "go", grace_seconds=60)
    folder.rename(folder.with_name(TrialSpec.of(workload.name, workload.knobs, {}).trial_id))
    first, *_, last = attempt("go", lambda: False)
    assert (first.step, last.state, last.metrics["val_loss"]) == (8, "completed", 1.0)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_preempted_script_that_ignores_sigterm_is_killed_after_its_grace_period(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    workload = load("trap '' TERM; echo '{\"step\": 1, \"val_loss\": 2.0}'; sleep 600", grace_seconds=0.2)
    spec = TrialSpec.of(workload.name, workload.knobs, {})
    notice: list[int] = []
    seen = []
    for event in workload.run([spec, spec], Context("cpu", tmp_path, ending=lambda: bool(notice))):
        seen.append(event)
        notice.append(1)
    assert [getattr(event, "state", "point") for event in seen] == ["point", "preempted", "preempted"]
    assert seen[-1].message == "preempted before it began"
