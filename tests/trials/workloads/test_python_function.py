"""A user's function: what it may return, report and raise."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry

Run = Callable[..., tuple[list[CurvePoint], Outcome]]
MODULE = "function_under_test"


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Write a module and load one of its functions as a workload."""
    before = list(sys.path)

    def loaded(source: str, name: str = "f", **options: Any) -> Any:
        (tmp_path / f"{MODULE}.py").write_text(source)
        return registry.load(f"python:{MODULE}:{name}", {"folder": str(tmp_path), **options})

    yield loaded
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


@pytest.fixture
def run(load: Callable[..., Any], tmp_path: Path) -> Run:
    def ran(source: str, values: dict[str, Any] | None = None, **options: Any) -> tuple[list[CurvePoint], Outcome]:
        workload = load(source, **options)
        spec = TrialSpec.of(workload.name, workload.knobs, values or {})
        workload.check([spec])
        *points, outcome = workload.run([spec], Context("cpu", tmp_path))
        return points, outcome

    return ran


def test_a_number_returned_is_the_val_loss(run: Run) -> None:
    points, outcome = run("def f(config): return config['lr'] * 2", {"lr": 0.5}, knobs={"lr": 0.1})
    assert (points, outcome.state, dict(outcome.metrics)) == ([], "completed", {"val_loss": 1.0})


def test_reports_become_columns_of_the_curve_and_metrics(run: Run) -> None:
    source = """
def f(config, report):
    report(step=5, tokens=100, train_loss=3, val_loss=2.5, lr=0.1, grad_norm=1.5, accuracy=0.25)
    report({"step": 9, "accuracy": 0.5}, learning=1)
"""
    (first, second), outcome = run(source)
    assert (first.step, first.tokens, first.train_loss, first.val_loss) == (5, 100, 3.0, 2.5)
    assert (first.lr, first.grad_norm, first.metrics) == (0.1, 1.5, {"accuracy": 0.25})
    assert (second.step, second.val_loss, second.metrics) == (9, None, {"accuracy": 0.5, "learning": 1.0})
    assert outcome.last_step == 9
    assert outcome.metrics == {"train_loss": 3.0, "val_loss": 2.5, "accuracy": 0.5, "learning": 1.0}


def test_missing_steps_continue_from_the_last(run: Run) -> None:
    points, _ = run("def f(config):\n  yield 3.0\n  yield {'step': 10, 'val_loss': 2}\n  yield {'val_loss': 1}")
    assert [point.step for point in points] == [0, 10, 11]


def test_a_result_updates_what_was_reported(run: Run) -> None:
    _, outcome = run(
        "def f(config):\n  yield {'val_loss': 3, 'a': 1}\n  return {'val_loss': 2, 'note': 'x', 'ok': True}"
    )
    assert outcome.metrics == {"val_loss": 2.0, "a": 1.0, "note": "x", "ok": True}


def test_numpy_and_torch_scalars_are_numbers(run: Run) -> None:
    source = "import numpy as np\ndef f(config):\n  yield {'step': np.int64(3), 'val_loss': np.float32(0.5)}"
    points, outcome = run(source)
    assert (type(points[0].step), type(outcome.metrics["val_loss"])) == (int, float)


def test_a_knob_keeps_its_column_and_a_metric_of_its_name_is_renamed(run: Run) -> None:
    source = "def f(config): return {'val_loss': 1, 'lr': 0.3, 'width': 4, 'state': 'mine', 'params': 77}"
    _, outcome = run(source, knobs={"lr": 0.1, "width": 4, "params": 64})
    assert outcome.metrics == {"val_loss": 1.0, "reported_lr": 0.3, "reported_state": "mine", "params": 77}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "101.0"])
@pytest.mark.parametrize("name", ["val_loss", "train_loss"])
def test_a_loss_that_is_not_finite_or_above_the_bound_is_divergence_with_its_step(
    run: Run, name: str, value: str
) -> None:
    source = f"""
def f(config, report):
    report(step=6, val_loss=1.0)
    report(step=7, {name}=float("{value}"))
    raise AssertionError("not reached")
"""
    points, outcome = run(source, divergence_loss=100.0)
    assert [point.step for point in points] == [6]
    assert (outcome.state, outcome.last_step, dict(outcome.metrics)) == ("diverged", 7, {})
    assert f"{name} is {float(value)} at step 7" in str(outcome.message)


def test_a_trial_has_diverged_even_if_the_function_catches_the_exception(run: Run) -> None:
    source = "def f(config, report):\n  try: report(val_loss=float('nan'))\n  except BaseException: pass\n  return 1.0"
    assert run(source)[1].state == "diverged"


@pytest.mark.parametrize("returned", ["float('nan')", "{'val_loss': float('inf')}"])
def test_a_result_that_is_not_finite_is_divergence(run: Run, returned: str) -> None:
    assert run(f"def f(config): return {returned}")[1].state == "diverged"


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        ("raise ValueError('planted')", "failed", "ValueError: planted (function_under_test.py:1 in f)"),
        ("raise SystemExit(3)", "failed", "SystemExit: 3"),
        ("raise StopIteration", "failed", "StopIteration"),
        ("raise MemoryError('big')", "out_of_memory", "MemoryError: big"),
        ("raise RuntimeError('CUDA out of memory. Tried to')", "out_of_memory", "CUDA out of memory"),
        ("raise ValueError('out of memory cells')", "failed", "ValueError"),
        ("return None", "failed", "no val_loss"),
        ("return {'accuracy': 1}", "failed", "no val_loss"),
        ("return 'a text'", "failed", "'a text' is not a number"),
        ("return {'val_loss': [1]}", "failed", "[1] is not a number"),
        ("return {'val_loss': 1, 'params': 1e300}", "failed", "params"),
        ("return {'val_loss': 10**400}", "diverged", "inf"),
    ],
)
@pytest.mark.parametrize("extra", ["", ", report", ", context"])
def test_every_exit_is_an_outcome_with_its_reason(run: Run, body: str, state: str, words: str, extra: str) -> None:
    _, outcome = run(f"def f(config{extra}): {body}")
    assert (outcome.state, outcome.metrics) == (state, {})
    assert words in str(outcome.message)


@pytest.mark.parametrize(
    ("body", "place"),
    [("report(val_loss='low')", " (function_under_test.py:2 in f)"), ("return {'val_loss': 'low'}", "")],
)
def test_a_report_that_is_not_a_number_fails_the_trial(run: Run, body: str, place: str) -> None:
    _, outcome = run(f"def f(config, report):\n  {body}")
    assert outcome.state == "failed"
    assert outcome.message == f"TypeError: reported val_loss = 'low' is not a number{place}"


@pytest.mark.parametrize("body", ["report(val_loss='low')", "return {'val_loss': 'low'}"])
def test_a_traceback_has_no_frames_of_ours(load: Callable[..., Any], tmp_path: Path, body: str) -> None:
    workload, logged = load(f"def f(config, report):\n  {body}"), list[bytes]()
    spec = TrialSpec.of(workload.name, workload.knobs, {})
    list(workload.run([spec], Context("cpu", tmp_path, log=logged.append)))
    (text,) = [one.decode() for one in logged]
    assert text.endswith("TypeError: reported val_loss = 'low' is not a number\n")
    assert "reports.py" not in text
    assert "python_function.py" not in text
    assert ("line 2, in f\n" in text) == body.startswith("report")


def test_the_function_gets_its_own_copy_of_the_configuration_and_the_context(run: Run) -> None:
    source = "def f(config, context):\n  config['lr'] = 9\n  return {'val_loss': 1, 'device': context.device}"
    _, outcome = run(source, knobs={"lr": 0.1})
    assert outcome.metrics == {"val_loss": 1.0, "reported_device": "cpu"}


def test_a_function_that_reports_faster_than_it_is_read_waits(load: Callable[..., Any], tmp_path: Path) -> None:
    source = "made = []\ndef f(config, report):\n  for step in range(1000):\n    report(val_loss=1); made.append(step)"
    workload = load(source)
    events = workload.run([TrialSpec.of(workload.name, workload.knobs, {})], Context("cpu", tmp_path))
    next(events)
    time.sleep(0.1)
    assert len(sys.modules[MODULE].made) < 100
    assert len(list(events)) == 1000  # 999 further points and the outcome


def test_closing_stops_the_function_at_its_next_report_even_if_it_catches_exceptions(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    source = """
seen = []
def f(config, report):
    try:
        while True:
            try:
                report(val_loss=1)
            except Exception:
                seen.append("swallowed")
    finally:
        seen.append("stopped")
"""
    workload, threads = load(source), threading.active_count()
    events = workload.run([TrialSpec.of(workload.name, workload.knobs, {})], Context("cpu", tmp_path))
    next(events)
    events.close()
    assert sys.modules[MODULE].seen == ["stopped"]
    assert threading.active_count() == threads


def test_a_generator_that_fails_while_it_is_closed_is_logged_and_ignored(
    load: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workload = load("def f(config):\n  try:\n    yield 1.0\n    yield 1.0\n  finally: raise OSError('disk')")
    events = workload.run([TrialSpec.of(workload.name, workload.knobs, {})], Context("cpu", tmp_path))
    next(events)
    events.close()
    assert "failed while it was closed" in caplog.text


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("def trains(config): pass", "train", "did you mean 'trains'"),
        ("train = 3", "train", "is int, not a function"),
        ("async def train(config): pass", "train", "asynchronous"),
        ("def train(): pass", "train", "configuration as its one argument"),
        ("def train(a, b): pass", "train", "configuration as its one argument"),
        ("import no_such_package_of_anybody", "train", "ModuleNotFoundError: No module named 'no_such_package"),
        ("1 / 0", "train", "ZeroDivisionError"),
        ("def train(:", "train", "SyntaxError"),
    ],
)
def test_a_function_that_cannot_be_run_is_reported_before_the_launch(
    load: Callable[..., Any], source: str, name: str, words: str
) -> None:
    workload = load(source, name)
    with pytest.raises(InputError) as error:
        workload.check([])
    assert words in str(error.value)


def test_a_missing_module_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no_such_module"):
        registry.load("python:no_such_module:f", {"folder": str(tmp_path)}).check([])


@pytest.mark.parametrize("rest", ["", "module", "module:", ":f", "a b:f", "a.py:f()"])
def test_a_malformed_name_is_refused_with_the_accepted_form(rest: str) -> None:
    with pytest.raises(InputError, match=r"python:package\.module:function"):
        registry.load(f"python:{rest}")


def test_callable_objects_are_functions_too(run: Run) -> None:
    source = "class F:\n  def __call__(self, config): return 1.5\nf = F()"
    assert run(source)[1].metrics["val_loss"] == pytest.approx(1.5, rel=1e-9)


RESUMING = """
from pathlib import Path
def step(folder, at):
    Path(folder, "at").write_text(str(at))
    return {"step": at, "val_loss": 2.0 if at < 10 else 1.0}
def begin(folder):
    return int(Path(folder, "at").read_text()) if Path(folder, "at").exists() else 0
def f(config, checkpoint_folder):
    for at in range(begin(checkpoint_folder) + 1, 11):
        yield step(checkpoint_folder, at)
def g(config, report, checkpoint_folder):
    for at in range(begin(checkpoint_folder) + 1, 11):
        report(step(checkpoint_folder, at))
"""


@pytest.mark.parametrize("name", ["f", "g"])
def test_a_preempted_function_resumes_from_its_own_checkpoint(
    load: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    workload = load(RESUMING, name)
    spec = TrialSpec.of(workload.name, workload.knobs, {})
    place = Context("cpu", tmp_path, checkpoints=str(tmp_path / "kept"))
    seen: list[Any] = []
    for event in workload.run([spec, spec], replace(place, ending=lambda: len(seen) >= 3)):
        seen.append(event)
    assert [getattr(event, "state", "point") for event in seen] == ["point"] * 3 + ["preempted"] * 2
    first, *_, last = workload.run([spec], place)
    assert first.step >= 4
    assert (last.state, last.last_step, last.metrics["val_loss"]) == ("completed", 10, 1.0)
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_exception_during_preemption_is_not_a_failure(load: Callable[..., Any], tmp_path: Path) -> None:
    source = "def f(config, context):\n    if context.ending(): raise SystemExit('saved')\n    yield {'val_loss': 1.0}"
    calls = itertools.count()
    workload = load(source)
    place = Context("cpu", tmp_path, ending=lambda: next(calls) > 0)
    (outcome,) = workload.run([TrialSpec.of(workload.name, workload.knobs, {})], place)
    assert (outcome.state, "saved" in outcome.message) == ("preempted", True)


def test_each_sweep_runs_the_module_of_its_own_folder(load: Callable[..., Any], tmp_path: Path) -> None:
    """Two folders may each have a train.py, and one process, such as a notebook, may launch both sweeps."""
    losses = {}
    for name in ("a", "b", "a"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / f"{MODULE}.py").write_text(f"def f(config): return {ord(name)}")
        workload = registry.load(f"python:{MODULE}:f", {"folder": str(folder)})
        *_, outcome = workload.run([TrialSpec.of(workload.name, workload.knobs, {})], Context("cpu", tmp_path))
        losses[name] = dict(outcome.metrics)["val_loss"]
    assert losses == {"a": ord("a"), "b": ord("b")}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_reports_after_the_end_ends_as_by_its_own_exit(run: Run) -> None:
    source = """
import threading
ended, after = threading.Event(), []
def late(report):
    ended.wait(10)
    try:
        report(step=9, val_loss=0.0)
    except BaseException as error:
        after.append(type(error))
        raise
def f(config, report):
    global thread
    thread = threading.Thread(target=late, args=(report,))
    thread.start()
    return 1.0
"""
    points, outcome = run(source)
    module = sys.modules[MODULE]
    module.ended.set()
    module.thread.join(10)
    assert (points, outcome.metrics, module.after) == ([], {"val_loss": 1.0}, [SystemExit])
