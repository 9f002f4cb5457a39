"""Tables with non-numeric cells and stores with damaged files: every command that reads a loss reports the row or file,
without a traceback."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sweeplaw import analysis
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.process

KNOBS = ["--knob", "lr", "--knob", "batch_tokens"]
COMMANDS = {
    "fit": ["fit", "{file}", "additive", "--x", "N=N", "--x", "D=D", "--y", "val_loss"],
    "hyperlaw": ["hyperlaw", "{file}", *KNOBS],
    "suggest": ["suggest", "--params", "1e8", "--tokens", "1e10", "--store", "{file}"],
    "compare-laws": ["compare-laws", "{file}", *KNOBS],
    "batch-lr": ["batch-lr", "{file}"],
    "importance": ["importance", "{file}", *KNOBS],
    "transfer": ["transfer", "{file}", "--workload", "N,D", *KNOBS],
    "query": ["query", "{file}", "--best-per", "N,D"],
}

TUNED = ("hyperlaw", "compare-laws", "batch-lr")


def table(path, last, loss=None):
    """Write a CSV of a 3 x 3 grid of N and D, 12 settings each, and one more row."""
    lines = ["N,D,lr,batch_tokens,val_loss"]
    for n, d, lr, batch in product((1e6, 1e7, 1e8), (1e8, 1e9, 1e10), (1e-4, 3e-4, 1e-3, 3e-3), (2**15, 2**16, 2**17)):
        bowl = math.log(lr / 1e-3) ** 2 + math.log(batch / 2**16) ** 2
        lines.append(f"{n},{d},{lr},{batch},{loss or 1.8 + 400 / n**0.34 + 900 / d**0.3 + 0.01 * bowl}")
    path.write_text("\n".join([*lines, last]) + "\n")
    return str(path)


def run(command, file):
    arguments = [part.format(file=file) for part in COMMANDS[command]]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_boolean_loss_is_rejected(tmp_path, command):
    file = table(tmp_path / "runs.csv", "1e6,1e8,0.001,65536,true", loss="true")
    with pytest.raises(InputError, match=r"holds Boolean; expected numbers|all 9 losses are equal"):
        run(command, file)


@pytest.mark.parametrize(
    ("command", "row", "words"),
    [
        *((command, "1e6,1e8,0.001,65536,abc", "'val_loss': row 109 holds 'abc'") for command in COMMANDS),
        *((command, "1e6,1e8,fast,65536,3", "'lr': row 109 holds 'fast'") for command in TUNED),
    ],
)
def test_text_in_a_loss_or_a_knob_is_rejected_with_its_row(tmp_path, command, row, words):
    file = table(tmp_path / "runs.csv", row)
    with pytest.raises(InputError, match=f"{words}; expected numbers"):
        run(command, file)


@pytest.mark.parametrize("command", COMMANDS)
def test_rows_with_nan_infinity_or_null_losses_do_not_change_the_result(tmp_path, command):
    odd = "1e6,1e8,0.001,65536,nan\n1e6,1e8,0.001,65536,inf\n1e6,1e8,0.001,65536,"
    complete = run(command, table(tmp_path / "whole.csv", "1e8,1e10,0.01,131072,5"))
    extended = run(command, table(tmp_path / "holed.csv", f"1e8,1e10,0.01,131072,5\n{odd}"))
    assert extended.exit_code == complete.exit_code == 0
    numbers = [line for line in complete.stdout.splitlines() if not line.startswith("note") and "row" not in line]
    assert set(numbers) <= set(extended.stdout.splitlines())


FIT = "fit {file} additive --x N=N --x D=D --y val_loss"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{FIT} --fix E=1 --fix A=1 --fix B=1 --fix alpha=1 --fix beta=1", "every parameter of additive is fixed"),
        (f"{FIT} --fix E=1e400 --fix Q=1", r"(?s)no parameter 'Q'.*E = inf \(accepted: a finite number"),
        (f"{FIT} --compute 0", r"compute in FLOPs = 0 \(accepted: a positive number"),
        (f"{FIT} --compute nan", "compute in FLOPs = nan"),
        (f"{FIT} --compute 1e21 --flops-per-nd 0", "FLOPs per N and D = 0"),
        (f"{FIT} --where val_loss", "condition 'val_loss' is not boolean: it gives Float64"),
        (f"{FIT} --where 'N > D || D'", "condition"),
        ("hyperlaw {file} --knob lr --where N", "condition 'N' is not boolean"),
        ("hyperlaw {file} --knob lr --knob lr", "'lr' is named twice"),
        ("hyperlaw {file} --knob lr --cell ''", "name the numeric axes of the cells"),
        ("hyperlaw {file} --knob lr --steps nope", "no column 'nope'"),
        ("hyperlaw {file} --knob lr --let lr=1/0", "no row has"),
        ("importance {file} --knob val_loss", "'val_loss' is named twice"),
        ("importance {file} --knob lr --default foo=1", "foo: not one of the knobs lr"),
        ("importance {file} --knob lr --figure x.bmp", r"unsupported extension \(accepted: \.png, \.svg, \.pdf\)"),
        ("importance {file} --knob lr --where 'lr = 0.001'", "one value each"),
        ("transfer {file} --workload N --knob N", "'N' is named twice"),
        ("query {file} --where lr", "condition 'lr' is not boolean"),
    ],
)
def test_an_invalid_option_is_rejected(tmp_path, line, words):
    file = table(tmp_path / "runs.csv", "1e6,1e8,0.001,65536,3")
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(app, shlex.split(line.format(file=file)), catch_exceptions=False)


@pytest.mark.parametrize("below", ["", "/below"])
def test_an_unwritable_path_is_reported_without_a_traceback(tmp_path, below):
    file = table(tmp_path / "runs.csv", "1e6,1e8,0.001,65536,3")
    place = file + below
    command = [sys.executable, "-m", "sweeplaw", "hyperlaw", file, "--knob", "lr", "--resamples", "5"]
    done = subprocess.run([*command, "--figures", place], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sweeplaw: {place}: ")
    assert "Traceback" not in done.stderr


def test_counts_may_be_written_with_exponents_or_suffixes():
    outputs = [
        CliRunner().invoke(app, ["suggest", "--params", n, "--tokens", d, "--json"]).stdout
        for n, d in (("7e9", "1.4e12"), ("7B", "1.4T"), ("7000M", "1400000M"))
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert CliRunner().invoke(app, ["suggest", "--params", "7X", "--tokens", "1"]).exit_code == 2


STORE = {
    **COMMANDS,
    "report": ["report", "{file}", "--out", "{file}-report"],
    "export": ["export", "{file}", "{file}.csv"],
    "diff": ["diff", "{file}", "{file}"],
    "status": ["status", "{file}"],
    "query": ["query", "{file}", "SELECT N, D, val_loss FROM trials"],
}


def damaged_store(folder):
    """Return a store with two imports of `table`; the losses of the second are corrupt behind a valid footer."""
    uri, maps = str(folder / "store"), ["--map", "params_non_embedding=N", "--map", "tokens=D"]
    for name, last in (("whole", "1e8,1e10,0.01,131072,5"), ("broken", "1e8,1e10,0.01,131072,6")):
        file = table(folder / f"{name}.csv", last)
        CliRunner().invoke(app, ["import", file, uri, *maps, "--source", name], catch_exceptions=False)
    (part,) = [path for path in Path(uri, "trials").iterdir() if "broken" in str(pq.read_table(path)["source"][0])]
    column = next(
        chunk
        for chunk in map(pq.ParquetFile(part).metadata.row_group(0).column, range(100))
        if chunk.path_in_schema == "val_loss"
    )
    start, content = column.dictionary_page_offset or column.data_page_offset, bytearray(part.read_bytes())
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    part.write_bytes(content)
    return uri, part.name


@pytest.mark.parametrize("command", STORE)
def test_a_damaged_part_is_reported_and_the_rest_is_used_with_exit_code_3(tmp_path, command):
    uri, name = damaged_store(tmp_path)
    mapped = {"N=N": "N=params_non_embedding", "D=D": "D=tokens"}
    arguments = [mapped.get(part, part).format(file=uri) for part in STORE[command]]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 3
    assert result.stdout or command == "export"  # export writes only its file
    assert f"damaged: trials/{name} is damaged inside" in result.stderr


def test_a_fit_in_python_warns_of_a_damaged_part(tmp_path):
    uri, name = damaged_store(tmp_path)
    found = analysis.fit(uri, all_rows=True)
    assert found.rows_used == 109
    assert any(f"damaged: trials/{name}" in warning for warning in found.warnings)
