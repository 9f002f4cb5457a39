"""Make the golden files: what this project answered on the day they were written, for `tests/test_golden.py`.

    python tests/golden/make.py                        # all of expected/
    python tests/golden/make.py plans/demo training    # these alone
    python tests/golden/make.py --tables               # the tables of inputs/
    python tests/golden/make.py --store                # the store

The tests run this script too, into another folder, and compare. Making the files anew is legitimate when an answer is
meant to change: in the commit that changes it, which says why, and whose diff of expected/ shows that nothing else
changed. It is never the way to make a move of code or a refactoring pass. The store stays as it is for good, because it
stands for stores that people have; a new schema gets a second store beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import functools
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from inspect import formatannotation
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints
from unittest.mock import patch

import polars as pl
import pyarrow.parquet as pq
import typer
from typer.main import get_command

from sweeplaw import analysis
from sweeplaw.orchestrator import cli
from sweeplaw.orchestrator.store import writer
from sweeplaw.orchestrator.worker import provenance
from sweeplaw.trials.store_format.columns import ARROW, POLARS

COMMAND = (sys.executable, "-m", "sweeplaw")
SWEEPS = Path(cli.__file__).parents[1] / "sweeps"
ADDED = Annotated[bool, typer.Option()]  # the options of completion, which typer adds to the root

GOLDEN = Path(__file__).resolve().parent
EXAMPLES = GOLDEN.parents[1] / "examples"
INPUTS, EXPECTED, STORE = GOLDEN / "inputs", GOLDEN / "expected", GOLDEN / "store"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")

PLANS: Mapping[str, Path] = {
    "demo": INPUTS / "demo.toml",
    "surrogate": SWEEPS / "surrogate.toml",
    "own_function": EXAMPLES / "own_function" / "sweep.toml",
    "own_script": EXAMPLES / "own_script" / "sweep.toml",
}
MACHINE = ("device", "device_hours", "hours", "time_basis", "slots", "resources", "misfit")  # of what it is made for

PLANTED = "--fix RN=1000 --fix alpha=0.34 --fix beta=0.36"  # as `_repeats` has them, nearly
TUNED = "tuned.csv --cell N,D --knob lr --knob batch_tokens"
ANSWERS: Mapping[str, str] = {
    "fit_additive": "fit runs.csv additive --y loss --bootstrap 100 --seed 3 --holdout largest --compute 1e20",
    "fit_additive_ls": "fit runs.csv additive --y loss --objective ls --space log --reduction sum --holdout cell",
    "fit_additive_lad": "fit runs.csv additive --y loss --objective lad --bootstrap 30 --by cell --compare skaling",
    "fit_asymptote": "fit runs.csv power_asymptote --x N --y loss --bootstrap 60 --by seed --where D=3000000000",
    "fit_kaplan": "fit runs.csv kaplan --y loss --objective huber:0.01",
    "fit_formula": "fit runs.csv E+A/N**a+B/D**b --x N=N --x D=D --y loss --unit N=1e6 --fix E=1.7 --bound a=0.1:0.9",
    "fit_data_constrained": f"fit repeats.csv data_constrained --y loss --weights weight {PLANTED}",
    "fit_approaches": "fit runs.csv additive --y loss --approaches --compute 1e19 --compute 1e21",
    "fit_coverage": "fit runs.csv power --x N --y loss --where D=3000000000 --simulate 20 --seed 5",
    "hyperlaw_joint": f"hyperlaw {TUNED} --resamples 100 --seed 7",
    "hyperlaw_cells": f"hyperlaw {TUNED} --resamples 100 --estimator cells",
    "hyperlaw_pooled": f"hyperlaw {TUNED} --resamples 100 --estimator pooled:0.01 --on lr=N",
    "suggest_runs": "suggest --store tuned.csv --params 1e9 --tokens 20B",
    "suggest_law": "suggest --law step-law --params 7B --tokens 1.4T",
    "batch_lr": "batch-lr tuned.csv --cell N,D",
    "importance": f"importance {TUNED} --default lr=0.0012 --cap 0.1",
    "transfer": "transfer tuned.csv --workload N,D --knob lr --knob batch_tokens --count 3",
    "compare_laws": f"compare-laws {TUNED}",
}


def sweeplaw(*arguments: str | Path) -> str:
    """Return what the command prints, run among the inputs with one thread. Raise RuntimeError if it fails."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=INPUTS, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"sweeplaw {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def asked(*arguments: str | Path) -> Any:
    """Return what the command answers with `--json`."""
    return json.loads(sweeplaw(*arguments, "--json"))


# Plans


def planned(path: Path) -> dict[str, Any]:
    """Return the plan of a sweep file without what depends on this machine.

    The ids are complete and in order; of the other values of the trials, those that occur, because an id is a hash of
    the rest.
    """
    estimate = asked("plan", path, "--trials", "--no-measure")
    listing = estimate.pop("listing")
    points = [_portable(point) for point in estimate.pop("points")]
    values = {name: list(dict.fromkeys(trial[name] for trial in listing)) for name in listing[0]}
    return {**_portable(estimate), "points": points, "trial_ids": values.pop("trial_id"), "values": values}


def _portable(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in estimate.items() if name not in MACHINE}


def planned_pinned(path: Path) -> dict[str, Any]:
    """Return the plan of a sweep on `stdlib`, with that corpus as one version of Python has it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(path.read_text().replace('corpus = "stdlib"', 'corpus = "stdlib:3.11.0"'))
        return planned(copy)


# Training and the store


def trained() -> dict[str, Any]:
    """Return outcomes and curves of a tiny training run in a store that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        sweeplaw("launch", "training.toml", "--store", store, "--cluster", "inline")
        outcome = "trial_id, state, attempt, last_step, lr, params, tokens, flops, train_loss, val_loss, member_loss"
        return {
            "trials": asked("query", store, f"SELECT {outcome} FROM trials ORDER BY trial_id"),
            "curves": asked("query", store, "SELECT * FROM curves ORDER BY trial_id, step"),
        }


def stored(store: Path) -> dict[str, Any]:
    """Return what the commands that read a store say of this one, of which they read a copy."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(store, Path(folder) / "store")
        status = asked("status", copy)
        outcome = "trial_id, state, attempt, val_loss, noiseless_loss, message"
        return {
            "status": {name: value for name, value in status.items() if name not in ("rate", "seconds_left")},
            "outcomes": asked("query", copy, f"SELECT {outcome} FROM trials ORDER BY trial_id"),
            "best": asked("query", copy, "SELECT N, D, seed, val_loss FROM best", "--best-per", "N,D"),
            "exports": {table: _exported(copy, table, Path(folder)) for table in ("trials", "curves")},
        }


def _exported(store: Path, table: str, folder: Path) -> dict[str, Any]:
    """Return a table as it is exported: its columns in Arrow and Polars, and its rows in order of trials."""
    file = folder / f"{table}.parquet"
    sweeplaw("export", store, file, "--table", table)
    frame = pl.read_parquet(file)
    return {
        "arrow": {field.name: str(field.type) for field in pq.read_schema(file)},
        "polars": {name: str(kind) for name, kind in frame.schema.items()},
        "rows": frame.sort(["trial_id", *(["step"] if table == "curves" else [])]).write_csv().splitlines(),
    }


# Commands, columns, names


def commands(command: Any = None) -> dict[str, Any]:
    """Return the tree of commands with the arguments and options of each; texts for people are left out."""
    command = command or get_command(cli.app)
    declared = get_type_hints(command.callback, include_extras=True) if command.callback else {}
    return {
        "parameters": [
            _parameter(parameter, *get_args(declared.get(parameter.name, ADDED))) for parameter in command.params
        ],
        "commands": {name: commands(below) for name, below in getattr(command, "commands", {}).items()},
    }


def _parameter(parameter: Any, kind: Any, declared: Any) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "kind": parameter.param_type_name,
        "options": [*parameter.opts, *parameter.secondary_opts],
        "type": formatannotation(kind),
        "bounds": [declared.min, declared.max],
        "default": parameter.default,
        "required": parameter.required,
        "multiple": parameter.multiple,
    }


def columns() -> list[dict[str, Any]]:
    """Return every column of both tables, those of workloads included, with its types in Arrow and Polars."""
    return [
        {**column, "arrow": str(ARROW[column["type"]]), "polars": str(POLARS[ARROW[column["type"]]])}
        for column in asked("columns")
    ]


# All of expected/


def makers(store: Path) -> Mapping[str, Callable[[], Any]]:
    """Return what makes the content of each file of expected/, by its name; one of them tells of this store."""
    return {
        **{f"plans/{name}": functools.partial(planned, path) for name, path in PLANS.items()},
        "plans/demo": functools.partial(planned_pinned, PLANS["demo"]),
        **{f"answers/{name}": functools.partial(asked, *line.split()) for name, line in ANSWERS.items()},
        "training": trained,
        "store": functools.partial(stored, store),
        "commands": commands,
        "columns": columns,
        "exports": lambda: list(analysis.__all__),
    }


def write_all(chosen: Mapping[str, Callable[[], Any]], folder: Path) -> None:
    """Write these files into this folder, two at a time. Raise ExceptionGroup when some cannot be made."""
    with ThreadPoolExecutor(2) as pool:
        written = [pool.submit(_write, maker, folder / f"{name}.json") for name, maker in chosen.items()]
    if faults := [fault for one in written if isinstance(fault := one.exception(), Exception)]:
        raise ExceptionGroup("not made", faults)


def _write(maker: Callable[[], Any], path: Path) -> None:
    content = json.dumps(maker(), indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n", encoding="utf-8")


# Inputs: tables with planted laws


def write_tables() -> None:
    """Write the tables of inputs/."""
    _write_table("runs", ("N", "D", "seed", "flops", "loss"), _runs())
    _write_table("repeats", ("N", "D", "U", "weight", "loss"), _repeats())
    _write_table("tuned", ("N", "D", "lr", "batch_tokens", "steps", "val_loss"), _tuned())


def _write_table(name: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(INPUTS / f"{name}.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])


def _runs() -> Iterator[Sequence[str]]:
    """Yield runs of the Chinchilla form, two seeds a point."""
    noise = random.Random(1)
    for n in (3e6, 1e7, 3e7, 1e8, 3e8, 1e9):
        for d in (1e8, 3e8, 1e9, 3e9, 1e10):
            for seed in (0, 1):
                loss = 1.7 + 400 / n**0.34 + 1500 / d**0.36 + noise.gauss(0, 0.004)
                yield f"{n:.0f}", f"{d:.0f}", str(seed), f"{6 * n * d:.6g}", f"{loss:.6f}"


def _repeats() -> Iterator[Sequence[str]]:
    """Yield runs that see their data several times: of repeated tokens each counts less and less."""
    noise = random.Random(2)
    for n in (1e7, 8e7, 6.4e8):
        for u in (1e8, 4e8, 1.6e9):
            for epochs in (1, 4, 16, 40):
                worth = u * (1 + 15 * (1 - math.exp(-(epochs - 1) / 15)))
                loss = 1.8 + 400 / n**0.34 + 1500 / worth**0.36 + noise.gauss(0, 0.003)
                yield f"{n:.0f}", f"{u * epochs:.0f}", f"{u:.0f}", "2" if epochs == 1 else "1", f"{loss:.6f}"


def _tuned() -> Iterator[Sequence[str]]:
    """Yield grids of learning rate and batch size around optima that move as the Step Law says.

    At any other batch size the best learning rate moves with its square root.
    """
    noise = random.Random(3)
    for n in (3e7, 1e8, 3e8):
        for d in (1e9, 4e9, 1.6e10):
            best_lr, best_batch = 1.79 * n**-0.713 * d**0.307, 0.58 * d**0.571
            for lr in (2e-4, 3e-4, 4e-4, 6e-4, 8e-4, 1.2e-3, 1.6e-3, 2.4e-3, 3.2e-3, 4.8e-3, 6.4e-3):
                for batch in (2**16, 2**17, 2**18, 2**19, 2**20):
                    larger = math.log(batch / best_batch)
                    off = 0.05 * (math.log(lr / best_lr) - larger / 2) ** 2 + 0.02 * larger**2
                    loss = 1.7 + 400 / n**0.34 + 1500 / d**0.36 + off + noise.gauss(0, 0.001)
                    yield f"{n:.0f}", f"{d:.0f}", f"{lr:g}", str(batch), f"{d / batch:.0f}", f"{loss:.6f}"


# The store


def write_store() -> None:
    """Write the store: a merged part, a sealed one and a journal that was never sealed, without the name of a machine.

    Launches of one, two and three seeds; diverged trials are put back in the queue after the first; failed ones are
    tried twice by policy. The disk is full when the last launch seals its journal.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), _nameless():
        _launched(1)
        _here("compact", "store", "--now")
        _here("retry", "store", "--state", "diverged")
        _launched(2)
        with patch.object(writer, "seal", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            _launched(3)
        shutil.rmtree(STORE, ignore_errors=True)
        shutil.copytree("store", STORE, ignore=shutil.ignore_patterns(".*"))
    for path in STORE.iterdir():  # git has no empty folders, so no store from a checkout has them
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@contextlib.contextmanager
def _nameless() -> Iterator[None]:
    with (
        patch("socket.gethostname", return_value="golden-host"),
        patch.object(provenance, "device_name", return_value="golden-device"),
    ):
        yield


def _launched(seeds: int) -> None:
    text = (INPUTS / "store.toml").read_text()
    Path("store.toml").write_text(text.replace("seeds = 3", f"seeds = {seeds}"))
    _here("launch", "store.toml", "--store", "store", "--cluster", "inline")


def _here(*arguments: str) -> None:
    """Run the command in this process. Raise SystemExit if it fails."""
    with patch.object(sys, "argv", ["sweeplaw", *arguments]):
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise


def main() -> None:
    """Make what the arguments name."""
    parser = argparse.ArgumentParser(description="Make the golden files.")
    parser.add_argument("names", nargs="*", help="files of expected/, without .json (default: all)")
    parser.add_argument("--into", type=Path, default=EXPECTED, help="in place of expected/")
    parser.add_argument("--of", type=Path, default=STORE, help="the store that store.json tells of, in place of store/")
    parser.add_argument("--tables", action="store_true", help="make the tables of inputs/ instead")
    parser.add_argument("--store", action="store_true", help="make store/ instead")
    given = parser.parse_args()
    if given.tables:
        write_tables()
    elif given.store:
        write_store()
    else:
        known = makers(given.of)
        write_all({name: known[name] for name in given.names or known}, given.into)


if __name__ == "__main__":
    main()
