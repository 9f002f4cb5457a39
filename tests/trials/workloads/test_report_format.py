"""Scripts that were not written for us: other names, lines by a pattern, tables that grow, nested values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.user_code import report_format
from sweeplaw.trials.workloads.user_code.growing_file import GrowingFile
from sweeplaw.trials.workloads.user_code.report_format import ReportReader

Run = Callable[..., tuple[list[CurvePoint], Outcome]]


def read(lines: list[str], **options: Any) -> list[dict[str, Any] | None]:
    faults: list[str] = []
    reader = ReportReader(report_format.of(options, ["folder"], faults))
    assert faults == []
    return [reader.report(line.encode()) for line in lines]


def test_names_are_translated_and_nested_values_flattened():
    metrics = {"val_loss": "loss/val", "step": {"from": "iter", "unit": "steps"}, "accuracy": {"unit": "%"}}
    lines = [
        '{"iter": 10, "loss": {"val": 2.5, "aux": {"z": 1}}, "step": 7}',
        '{"loss/val": 2.25, "val_loss": 9}',
        "{}",
    ]
    assert read(lines, metrics=metrics) == [
        {"val_loss": 2.5, "step": 10, "reported_step": 7, "loss/aux/z": 1},
        {"val_loss": 2.25, "reported_val_loss": 9},
        None,
    ]
    assert read(['{"step": 1, "val_loss": 2, "a": {"b": 3}}']) == [{"step": 1, "val_loss": 2, "a/b": 3}]


def test_lines_are_read_by_patterns():
    pattern = [r"step (?P<step>\d+),? loss (?P<train_loss>\S+)", r"eval: (?P<val_loss>\S+) (?P<note>\w+)?"]
    lines = [
        "x step 10, loss 3.25,",
        "\x1b[32mstep 20 loss nan\x1b[0m",
        "bar\rstep 30 loss 1e-3",
        "eval: 2.5 ok",
        "eval",
    ]
    first, second, *rest = read(lines, pattern=pattern)
    assert first == {"step": 10, "train_loss": 3.25}
    assert str(second) == "{'step': 20.0, 'train_loss': nan}"
    assert rest == [{"step": 30, "train_loss": 0.001}, {"val_loss": 2.5, "note": "ok"}, None]
    assert read(['{"step": 1}', "loss 2"], pattern=r"loss (?P<val_loss>\d)") == [{"step": 1}, {"val_loss": 2}]


def test_groups_of_a_pattern_may_have_the_names_of_the_script():
    options = {"pattern": r"iter (?P<iter>\d+) loss (?P<loss>\S+)", "metrics": {"val_loss": "loss", "step": "iter"}}
    assert read(["iter 10 loss 3.25"], **options) == [{"step": 10, "val_loss": 3.25}]
    faults: list[str] = []
    report_format.of({**options, "metrics": {"val_loss": "other"}}, ["folder"], faults)
    assert len(faults) == 1
    assert "names no value" in faults[0]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_by_their_header_which_may_come_again(separator):
    lines = ["\ufeffepoch,val/loss,text", "1,2.5,a", "2,,b", "epoch,text,val/loss", "3,c,2.25", ""]
    found = read(
        [line.replace(",", separator) for line in lines],
        reports="{folder}/log.csv",
        metrics={"step": "epoch", "val_loss": "val/loss"},
    )
    assert found[1:3] == [{"step": 1, "val_loss": 2.5, "text": "a"}, {"step": 2, "text": "b"}]
    assert (found[0], found[3], found[4], found[5]) == (None, None, {"step": 3, "text": "c", "val_loss": 2.25}, None)


def test_decimal_commas_are_read_where_semicolons_separate():
    lines = ["it;loss;text", "1;-3,5e-1;a,b", "2;2.5;1,2,3"]
    found = read(lines, reports="{folder}/log.csv", metrics={"step": "it", "val_loss": "loss"})
    assert found == [
        None,
        {"step": 1, "val_loss": -0.35, "text": "a,b"},
        {"step": 2, "val_loss": 2.5, "text": "1,2,3"},
    ]


def test_of_records_without_a_value_of_ours_the_first_eight_names_of_the_first_are_told():
    reader = ReportReader(report_format.PLAIN)
    for line in ("{}", json.dumps({f"n{number}": number for number in range(12)}), '{"later": 1}'):
        assert reader.report(line.encode()) is None
    assert reader.unknown == tuple(f"n{number}" for number in range(8))


@pytest.mark.parametrize("key", ["step", "train_loss", "val_loss", "final"])
def test_a_record_with_any_of_our_names_is_a_report(key):
    assert read([json.dumps({key: 1, "other": 2})]) == [{key: 1, "other": 2}]


def test_a_byte_order_mark_hides_no_report():
    assert read(['\ufeff{"step": 1, "val_loss": 2}']) == [{"step": 1, "val_loss": 2}]


def test_a_file_is_read_once_however_it_is_written(tmp_path):
    path = tmp_path / "log.csv"
    with GrowingFile(path, header=True) as file:
        assert file.read(100) == b""
        path.write_bytes(b"step,loss\n1,2\n2")
        assert file.read(100) == b"step,loss\n1,2\n2"
        with path.open("ab") as more:
            more.write(b",3\n")
        assert file.read(100) == b",3\n"
        path.with_suffix(".new").write_bytes(b"step,loss,lr\n1,2,0\n2,3,0\n3,4,0\n")
        path.with_suffix(".new").rename(path)
        assert file.read(100) == b"\nstep,loss,lr\n"
        assert file.read(100) == b"3,4,0\n"
        path.write_bytes(b"step,loss,lr\n1,2,0\n")  # being written anew
        assert file.read(100) == b"\nstep,loss,lr\n"
        assert file.read(100) == b""
        path.write_bytes(b"step,loss,lr\n1,2,0\n2,3,0\n3,4,0\n4,5,0\n")
        assert file.read(100) == b"4,5,0\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def ran(script: str, **options: Any) -> tuple[list[CurvePoint], Outcome]:
        (tmp_path / "train.sh").write_text(script)
        given = {"argv": ["/bin/sh", "train.sh", "{folder}"], "folder": str(tmp_path), **options}
        workload = registry.load("command", given)
        spec = TrialSpec.of(workload.name, workload.knobs, {})
        *points, outcome = workload.run([spec], Context("cpu", tmp_path / "pack"))
        assert isinstance(outcome, Outcome)
        return [point for point in points if isinstance(point, CurvePoint)], outcome

    return ran


@pytest.mark.process
def test_a_table_that_a_script_writes_is_its_curve(run: Run) -> None:
    script = 'mkdir -p $1/v0; { echo "it,loss"; echo "1,3.5"; echo "2,2.5"; } > $1/v0/m.csv; echo done'
    points, outcome = run(script, reports="{folder}/v0/m.csv", metrics={"step": "it", "val_loss": "loss"})
    assert [(point.step, point.val_loss) for point in points] == [(1, 3.5), (2, 2.5)]
    assert (outcome.state, outcome.metrics["val_loss"], outcome.message) == ("completed", 2.5, None)
    _, outcome = run(script, reports="{folder}/v0/m.csv", metrics={"step": "it"})
    assert "m.csv as a column\ndone" in str(outcome.message)


@pytest.mark.process
@pytest.mark.heavy
@pytest.mark.parametrize("before", ["", "echo it,loss > $1/m.csv; sleep 1; rm $1/m.csv; "])
def test_a_long_file_that_is_written_at_the_end_is_read_whole(run: Run, before: str) -> None:
    script = before + '{ echo "it,loss"; seq -f "%.0f,2.5" 1 130000; } > $1/new; mv $1/new $1/m.csv'
    points, outcome = run(script, reports="{folder}/m.csv", metrics={"step": "it", "val_loss": "loss"})
    assert outcome.state == "completed"
    assert [points[0].step, points[-1].step, len(points)] == [1, 130000, 130000]


@pytest.mark.process
def test_printed_lines_are_the_curve_and_other_names_are_told(run: Run) -> None:
    points, outcome = run(
        'echo "step 10 loss 3.5"; echo "val 2.5"', pattern=[r"step (?P<step>\d+)", r"val (?P<val_loss>.+)"]
    )
    assert (len(points), outcome.state, outcome.metrics["val_loss"]) == (2, "completed", 2.5)
    _, outcome = run("echo step 10", pattern=r"(?P<step>\d+)( loss (?P<val_loss>.+))?")
    assert (outcome.state, "or a group of workload.pattern\nstep 10" in str(outcome.message)) == ("failed", True)
    _, outcome = run("""echo '{"epoch": 1, "valid": {"nll": 2}}'""")
    assert outcome.state == "failed"
    assert 'it reported epoch, valid/nll: name the loss by metrics = { val_loss = "NAME" }' in str(outcome.message)
    _, outcome = run("""echo '{"val_loss": 1.5, "list": [1], "deep": {"a": 2}}'""")
    assert (outcome.state, outcome.metrics) == ("completed", {"val_loss": 1.5, "deep/a": 2.0})
    assert outcome.message == "note: 1 report with values that are no numbers, which were left out"
    _, outcome = run("""echo '{"step": 1, "val_loss": 1.5}'; echo '{"step": 2, "val_loss": true}'""")
    assert (outcome.state, outcome.metrics["val_loss"], outcome.last_step) == ("completed", 1.5, 2)
    assert outcome.message == "note: 1 report with values that are no numbers, which were left out"


@pytest.mark.process
def test_a_report_that_is_nested_too_deeply_is_counted_and_not_the_message(run: Run) -> None:
    deep = f"""printf '{{"val_loss": 1, "a": {"[" * 3000}{"]" * 3000}}}\n'"""
    _, outcome = run(f"{deep}; echo bye")
    assert outcome.state == "failed"
    assert str(outcome.message).startswith("exit code 0, but no val_loss came")
    assert str(outcome.message).endswith("…\nbye\nnote: 1 report nested too deeply, ignored")
    assert len(str(outcome.message)) < 1300
    _, outcome = run(f"""echo '{{"val_loss": {"9" * 5000}}}'""")
    assert (outcome.state, outcome.message) == ("diverged", "val_loss is inf at step 0")


@pytest.mark.process
def test_exit_codes_that_ask_for_another_try_leave_the_trial_unfinished(run: Run) -> None:
    for code, state in ((75, "preempted"), (1, "failed")):
        _, outcome = run(f"""echo '{json.dumps({"val_loss": 1.5})}'; exit {code}""", retry_exit_codes=[75])
        assert outcome.state == state


def test_faults_of_a_report_format_come_in_one_message() -> None:
    options: dict[str, Any] = {
        "argv": ["train", "model.width={width}", "{{braces}}"],
        "knobs": {"width": 3},
        "pattern": ["(", "loss (?P<loss>.)", 3],
        "reports": "{nothing}.csv",
        "metrics": {"val_loss": "a", "step": {"from": "a"}, "lr": 3},
        "retry_exit_codes": [0],
    }
    with pytest.raises(InputError) as raised:
        registry.load("command", options)
    words = ["not a regular expression", "it needs a group", "3 is not a regular", "{nothing} is not known"]
    for word in [*words, "'a' is val_loss already", "workload.metrics.lr = 3", "retry_exit_codes = [0]"]:
        assert word in str(raised.value), word
    assert len(raised.value.faults) == 7


DOTTED = """
import json, sys
print(json.dumps({"step": 1, "val_loss": int(sys.argv[1].removeprefix("model.width="))}))
"""


@pytest.mark.process
def test_knobs_with_dots_go_from_the_sweep_to_the_arguments_and_into_columns_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(DOTTED)
    text = """
        name = "hydra"
        seeds = 1
        workload = { kind = "command", argv = ["{python}", "{sweep_folder}/train.py", "model.width={model.width}"] }
        scientific = { "model.width" = [64, 128], tokens = [100] }
    """
    store = Store.open(tmp_path / "s", create=True)
    launch(plan(parse(text, folder=tmp_path)), store, profile.load("inline"))
    trials = load(tmp_path / "s", where='"model.width" > 64').trials.collect()
    assert trials.select("model.width", "val_loss").rows() == [(128, 128.0)]
