"""What imports, comparisons, advice and reports print, line by line, of values written by hand; cells of tables."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.tables.diff import Difference
from sweeplaw.orchestrator.cli.pages import report
from sweeplaw.orchestrator.cli.shared import frames, output, progress
from sweeplaw.orchestrator.cli.sweeps import next_runs
from sweeplaw.orchestrator.cli.tables import diff, exclude, import_
from sweeplaw.orchestrator.importing.importer import Imported
from sweeplaw.trials.errors import InputError

IMPORTED = Imported(
    source="runs.csv",
    rows=30,
    left_out=1,
    added=5,
    present=4,
    repeated=3,
    rejected=[(number, "no loss") for number in range(1, 10)] + [(10, "already exists with different content")],
    used={"params_non_embedding": "N", "lr": "lr"},
    curve_points=2,
    rejects="rejects/a.json",
    updated=1,
    wider=6,
    merged=8,
    warnings=["odd"],
)


def test_an_import_says_what_became_of_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    import_._print(IMPORTED, "s", "")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "  params_non_embedding = N",
        "  lr",
        "runs.csv: 30 rows, added 5, 4 already in the store,",
        "  3 repeat a row of the file, 10 rejected; 2 curve points",
        "  8 earlier rows of the same runs, merged into their last",
        "  1 run of the store updated",
    ]
    said = printed.err.splitlines()
    assert said[:3] == [
        "  6 of those in the store lack values that the file has (--update adds them)",
        "warning: odd",
        "left out: 1 row for which `where` does not hold",
    ]
    assert said[3:] == [
        *(f"  row {number}: no loss" for number in range(1, 10)),
        "  row 10: already exists with different content",
        "  --update replaces runs of the store by those of the file",
        "rejected rows: s/rejects/a.json",
    ]
    import_._print(IMPORTED, "s", "would be ")
    printed = capsys.readouterr()
    assert "runs.csv: 30 rows, would add 5, 4 already in the store," in printed.out
    assert "  1 run of the store would be updated" in printed.out


def test_a_plain_import_says_no_more_than_its_counts(capsys: pytest.CaptureFixture[str]) -> None:
    import_._print(Imported("x", 1, 0, 1, 0, 0, [], {}, 0, None), "s", "")
    assert capsys.readouterr() == (
        "x: 1 row, added 1, 0 already in the store,\n  0 repeat a row of the file, 0 rejected; 0 curve points\n", ""
    )  # fmt: skip
    eleven = [(number, "bad") for number in range(11)]
    import_._print(Imported("x", 1, 0, 1, 0, 0, eleven, {}, 0, None), "s", "")
    assert capsys.readouterr().err.splitlines()[9:] == ["  row 9: bad", "  and 1 more"]


def changes(count: int) -> pl.DataFrame:
    rows = [(f"t{number // 2}", "val_loss", "1", "2") for number in range(count)]
    return pl.DataFrame(rows, ["trial_id", "column", "a", "b"], orient="row")


def test_a_difference_names_its_trials_and_counts_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    found = Difference(tuple("abcdefghijklmnopqrstu"), ("z",), 7, changes(21), (), (0, 3))
    diff._print(found, "A", "B")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:4] == [
        "7 the same, 11 differ, 21 only in A, 1 only in B",
        "only in A: a b c d e f g h i j k l m n o p q r s t …",
        "only in B: z",
        "trial_id  column    a  b",
    ]
    assert (len(lines), lines[-2:]) == (25, ["t9        val_loss  1  2", "(1 more change; --json for all)"])
    assert printed.err == "left out: 3 trials that B excludes\n"
    diff._print(Difference(tuple("abcdefghijklmnopqrst"), (), 0, changes(20), ()), "A", "B")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "only in A: a b c d e f g h i j k l m n o p q r s t"
    assert len(lines) == 23
    assert diff._values(found) == {
        "only_a": found.only_a, "only_b": ("z",), "same": 7, "faults": (), "excluded": (0, 3),
        "changes": found.changes.to_dicts(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "undo", "sentence"),
    [
        (0, False, "nothing changed: EXPR holds for no trial in the data"),
        (0, True, "nothing changed: EXPR holds for no excluded trial"),
        (1, False, "1 trial excluded from the data (--undo restores)"),
        (2, True, "2 trials restored"),
    ],
)
def test_an_exclusion_says_what_it_did(count: int, undo: bool, sentence: str) -> None:
    assert exclude._outcome(count, undo) == sentence


def test_plans_are_numbered_with_price_and_gain(capsys: pytest.CaptureFixture[str]) -> None:
    known = RunPlan("Larger models", "N is short.", ((1e9, 1e10),), 1, 6e19, 0.12345)
    plans = [("muon", known), ("adamw", RunPlan("Lower rates", "The best is at an edge.", ((1e6, 1e7),), 1200, None))]
    next_runs._print(plans, several=True)
    assert capsys.readouterr().out.splitlines() == [
        "  1. Larger models [muon]: 1 trial, 6e+19 FLOPs, narrows the loss by 12.3 %",
        "     N is short.",
        "  2. Lower rates [adamw]: 1,200 trials, FLOPs unknown",
        "     The best is at an edge.",
    ]
    next_runs._print([("muon", known)], several=False)
    assert capsys.readouterr().out.startswith("  1. Larger models: 1 trial, ")
    next_runs._print([], several=False)
    assert capsys.readouterr().out.startswith("Nothing stands out: every optimum lies inside its grid")


def test_a_plan_is_chosen_by_its_number_over_all_families(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (RunPlan(title, "why", (), 1, None) for title in ("first", "second", "third"))
    advice = SimpleNamespace(
        plans={"muon": [first, second], "adamw": [third]}, values={"muon": {"o": 1}, "adamw": {"o": 2}},
        by=SimpleNamespace(n="params"),
        tables=SimpleNamespace(faults=(), launches=[{"sweep": "mine", "sweep_file": "x"}]),
    )  # fmt: skip
    asked: list[Any] = []

    def advise(source: str, **options: Any) -> Any:
        asked.append({"source": source, **options})
        return advice

    def written(tables: Any, chosen: RunPlan, n: str, **options: Any) -> str:
        return f"{chosen.title} {n} {options}\n"

    monkeypatch.setattr("sweeplaw.analysis.report.next_section.advise", advise)
    monkeypatch.setattr("sweeplaw.orchestrator.plan.new_sweeps.next_sweep.next_sweep", written)
    for number, title, family in ((1, "first", 1), (2, "second", 1), (3, "third", 2)):
        next_runs.next_("s", target="N=7B,D=1e11", plan=number, sweep="mine", y="loss", where="a > 1", x=["N=n"])
        options = {"family": {"o": family}, "sweep": "mine", "loss": "loss"}
        assert capsys.readouterr().out == f"{title} params {options}\n"
    assert asked[0].pop("verify") is False
    assert asked[0] == {"source": "s", "target": (7e9, 1e11), "where": "a > 1", "loss": "loss", "x": {"N": "n"}}
    with pytest.raises(InputError, match=r"--plan 4: there are 3 plans \(accepted: 1 to 3\)"):
        next_runs.next_("s", plan=4, y="loss")
    with pytest.raises(InputError, match=r"--target N=1 \(accepted: N and D, as in N=7e9,D=1.4e11\)"):
        next_runs.next_("s", target="N=1")
    with pytest.raises(InputError, match=r"no launch of a sweep 'other' \(launched: mine\)"):
        next_runs.next_("s", sweep="other", y="loss")


def test_the_law_of_a_report_is_one_line_or_the_reason_why_there_is_none() -> None:
    law = SimpleNamespace(formula="L = E + A / N**a")
    fit = SimpleNamespace(law=law, params={"E": 1.69999, "A": 406.44}, status="verified")
    section: Any = SimpleNamespace(surface=SimpleNamespace(fit=fit, why_not="no reason"))
    assert report._law(section) == "L = E + A / N**a: E = 1.7, A = 406.4 (verified)"
    section.surface.fit = None
    assert report._law(section) == "no reason"


def test_a_file_has_no_launches_that_run(tmp_path: Path) -> None:
    assert list(report._running(str(tmp_path / "runs.csv"))) == []


TABLE = pl.DataFrame({"name": ["a", "b" * 41, None], "loss": [2.5, 1e15, 123456.789], "n": [1, 20, 300]})


def test_a_table_aligns_numbers_right_and_names_what_does_not_fit() -> None:
    long = "b" * 39 + "…"
    assert frames.aligned(TABLE, None).splitlines() == [
        f"{'name':40}    loss    n",
        f"{'a':40}     2.5    1",
        f"{long}   1e+15   20",
        f"{'-':40}  123457  300",
    ]
    whole = 40 + 2 + 6 + 2 + 3
    assert frames.aligned(TABLE, whole) == frames.aligned(TABLE, None)
    assert frames.aligned(TABLE, whole - 1).splitlines()[-1] == "(1 more column: n)"
    assert frames.aligned(TABLE, 3).splitlines()[::4] == ["name", "(2 more columns: loss, n)"]
    assert frames.aligned(TABLE.clear(), None) == "name  loss  n\n(no rows)\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (False, "false"),
        (3.0, "3"),
        (-999999999999999.0, "-999999999999999"),
        (1e15, "1e+15"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (0.12345678, "0.123457"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 678), "2026-01-02 03:04:05"),
        ("two\n lines", "two lines"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
        (12345678901234567, "12345678901234567"),
    ],
)
def test_a_cell_is_one_line(value: Any, text: str) -> None:
    assert frames.cell(value) == text


ROWS = pl.DataFrame({"loss": [2.5, float("nan")], "at": [dt.datetime(2026, 1, 2, 3, 4, 5, 6), None]})
LINES = ['{"loss":2.5,"at":"2026-01-02T03:04:05.000006Z"}', '{"loss":null,"at":null}']


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("csv", "loss,at\n2.5,2026-01-02T03:04:05.000006\nNaN,\n"),
        ("ndjson", f"{LINES[0]}\n{LINES[1]}\n"),
        ("json", f"[\n  {LINES[0]},\n  {LINES[1]}\n]\n"),
    ],
)
def test_rows_in_a_format_for_programs_are_equal_on_stdout_and_in_a_file(
    flag: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = dict.fromkeys(("json", "csv", "ndjson", "latex"), False)
    frames.emit(ROWS, frames.output_format(**{**none, flag: True}, out=None))
    assert capsys.readouterr().out == text
    file = tmp_path / f"rows.{flag.upper()}"
    frames.emit(ROWS, frames.output_format(**none, out=file))
    assert (file.read_text(), capsys.readouterr().out) == (text, "")


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.pq", "parquet"), ("a.parquet", "parquet"), ("a.ipc", "arrow"), ("a.arrow", "arrow"), ("a.jsonl", "ndjson")],
)
def test_a_suffix_may_have_another_name(name: str, form: str, tmp_path: Path) -> None:
    none = dict.fromkeys(("json", "csv", "ndjson", "latex"), False)
    chosen = frames.output_format(**none, out=tmp_path / name)
    assert chosen == frames.OutputFormat(form, tmp_path / name)
    if form != "ndjson":
        frames.emit(TABLE, chosen)
        read = pl.read_parquet if form == "parquet" else pl.read_ipc
        assert read(tmp_path / name).equals(TABLE)
    for word in ("a.table", "a.txt", "a"):
        with pytest.raises(
            InputError, match=r"unsupported extension \(accepted: \.csv, \.json, \.ndjson, \.parquet, \.arrow, \.tex\)"
        ):
            frames.output_format(**none, out=Path(word))


def test_no_rows_are_an_empty_json_list_and_nothing_is_written_into_a_store(tmp_path: Path) -> None:
    assert frames._text(ROWS.clear(), "json") == "[]\n"
    frames.refuse_inside(tmp_path / "beside.csv", str(tmp_path / "store"))
    frames.refuse_inside(None, str(tmp_path))
    with pytest.raises(InputError, match="which only launches may write to"):
        frames.refuse_inside(tmp_path / "store" / "x" / ".." / "a.csv", str(tmp_path / "store"))


def test_a_new_sweep_is_printed_or_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output.write_sweep("name = 1\n", None)
    assert capsys.readouterr() == ("name = 1\n", "")
    file = tmp_path / "a b.toml"
    output.write_sweep("größe = 1\n", file)
    assert capsys.readouterr() == ("", f"{file} written; sweeplaw plan '{file}' shows it\n")
    assert file.read_text(encoding="utf-8") == "größe = 1\n"
    with pytest.raises(InputError, match="cannot be written: File exists"):
        output.write_sweep("x", file)
    assert file.read_text(encoding="utf-8") == "größe = 1\n"


def test_progress_without_a_terminal_is_a_line_of_amount_pace_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress._say("sampling", 2_000, 5_000, 4.0)
    progress._say("sampling", 0, 5_000, 4.0)
    progress._say("sampling", 1, 5_000, 0.0)
    assert capsys.readouterr().err.splitlines() == [
        "sampling: 2k of 5k, 500/s, 6 s left",
        "sampling: 0 of 5k, 0/s",
        "sampling: 1 of 5k, 0/s",
    ]
