"""Golden files: what the commands answered on the day `tests/golden/make.py` wrote them, and answer still.

`golden/expected/` has plans with their trial ids, fits, laws and suggestions on small tables, the curves of a training
run, the tree of commands, the columns, the names `analysis` exports, and what a store written then says. They are there
for changes that must change nothing: a move of the code, a refactoring.

Structure, texts and whole numbers must be equal. On the machine that wrote the files so must every digit of every
float: run the tests with SWEEPLAW_GOLDEN=exact, before such a change and after it. Another processor adds in another
order, so without that variable floats may differ by 1 in 100,000, and those that rest on draws along eigenvectors
(whose signs LAPACK chooses) by 1 in 20, and means of residuals by 1e-9 of the loss; how a solver came to its optimum is
left out. These limits were found with the
vector units of numpy, OpenBLAS and torch turned off, which moves a budget by 3e-7, a bias by 3e-6, a floor by 2e-2.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "sweeplaw")
DEMO = Path(__file__).parents[1] / "orchestrator" / "sweeps" / "demo.toml"

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = GOLDEN / "expected"
NAMES = sorted(path.relative_to(EXPECTED).with_suffix("").as_posix() for path in EXPECTED.rglob("*.json"))

EXACT = os.environ.get("SWEEPLAW_GOLDEN") == "exact"
RELATIVE = 1e-5
DRAWN, DRAWN_RELATIVE = ("noise_floor_permille", "exponent", "exponent_interval"), 0.05
# A mean of residuals is a sum that cancels: processors differ in what rounding leaves, by up to 2e-10 of the loss seen.
CANCELLING, LEAST = ("mean_residual_milli",), 1e-6
SOLVER = ("scaled_gradient", "starts_agreeing")
SOLVER_TEXT = re.compile(r"\d+ of \d+ starts agree, scaled gradient [^,]+")

pytestmark = pytest.mark.slow


def differences(
    expected: Any, found: Any, *, exact: bool, relative: float = RELATIVE, absolute: float = 0.0, where: str = ""
) -> Iterator[str]:
    """Yield a sentence for each place where ``found`` is not what is expected; floats as the module says."""
    if isinstance(expected, dict) and isinstance(found, dict) and list(expected) == list(found):
        for name, value in expected.items():
            if exact or name not in SOLVER:
                near = DRAWN_RELATIVE if name in DRAWN else relative
                least = LEAST if name in CANCELLING else absolute
                inside = f"{where}/{name}"
                yield from differences(value, found[name], exact=exact, relative=near, absolute=least, where=inside)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            inside = f"{where}/{index}"
            yield from differences(one, other, exact=exact, relative=relative, absolute=absolute, where=inside)
    elif not _same(expected, found, exact, relative, absolute):
        yield f"{where}: {expected!r} was expected, found {found!r}"


def _same(expected: Any, found: Any, exact: bool, relative: float, absolute: float) -> bool:
    if type(expected) is not type(found) or isinstance(expected, dict | list):  # of other names or another length
        return False
    if not exact and isinstance(expected, float):
        return math.isclose(expected, found, rel_tol=relative, abs_tol=absolute)
    if not exact and isinstance(expected, str):
        return SOLVER_TEXT.sub("", expected) == SOLVER_TEXT.sub("", found)
    return bool(expected == found)


def read(folder: Path, name: str) -> Any:
    """Return the content of a golden file in this folder."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def make(*arguments: str | Path) -> str:
    """Run the script that makes the golden files; return what it says on standard error."""
    command = [sys.executable, GOLDEN / "make.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280).stderr


def asked(*arguments: str | Path, code: int = 0) -> Any:
    """Return what the command, which ends with this exit code, answers with `--json`."""
    done = subprocess.run([*COMMAND, *arguments, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of golden files as today's code makes them, and the output of their maker."""
    folder = tmp_path_factory.mktemp("made")
    return folder, make("--into", folder)


@pytest.fixture
def store(tmp_path):
    """A copy of the golden store."""
    return shutil.copytree(GOLDEN / "store", tmp_path / "store")


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_the_golden_one(name, made):
    folder, output = made
    assert (folder / f"{name}.json").is_file(), output
    found = list(differences(read(EXPECTED, name), read(folder, name), exact=EXACT))
    assert not found, "\n".join(found[:20])


def test_every_answer_has_a_golden_file(made):
    folder, output = made
    assert not output
    assert sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")) == NAMES


def test_the_demo_as_shipped_has_the_corpus_of_this_python(tmp_path):
    """The golden plan of the demo names a version of Python, so that it is the same under any; this ties the two."""
    named = tmp_path / "demo.toml"
    line = f'corpus = "stdlib:{platform.python_version()}"'
    named.write_text(DEMO.read_text().replace('corpus = "stdlib"', line))
    assert line in named.read_text()
    assert asked("plan", DEMO, "--trials", "--no-measure") == asked("plan", named, "--trials", "--no-measure")


def test_a_relaunch_on_the_golden_store_runs_nothing_and_writes_nothing(store):
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    done = asked("launch", GOLDEN / "inputs" / "store.toml", "--store", store, "--cluster", "inline", code=5)
    assert {name: done[name] for name in ("planned", "already", "elsewhere", "ran", "states", "again", "problems")} == {
        "planned": 18, "already": 18, "elsewhere": 0, "ran": 0, "states": {}, "again": 0, "problems": [],
    }  # fmt: skip
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_the_golden_store_has_every_kind_of_file_and_says_the_same_compacted(store, tmp_path):
    kinds = {f"{path.parent.name}/{path.suffix}" for path in store.rglob("*.*")}
    assert kinds >= {"trials/.parquet", "curves/.parquet", "earlier/.parquet", "journal/.jsonl", "merges/.ids"}
    assert kinds >= {"merges/.json", "launches/.json", "launches/.parquet", "usage/.json", "retries/.json"}
    done = asked("compact", store)
    assert (done["replaced"], done["rows"], done["quarantined"]) == (3, 18, [])
    assert not list(store.glob("journal/*.jsonl"))
    assert not make("store", "--of", store, "--into", tmp_path)
    assert not list(differences(read(EXPECTED, "store"), read(tmp_path, "store"), exact=True))


@pytest.mark.parametrize(
    ("expected", "found", "exact", "elsewhere"),
    [
        (1.0, 1.0, 0, 0),
        (1.0, 1.0 + 2**-52, 1, 0),
        (1.0, 1.0001, 1, 1),
        (1.0, 1, 1, 1),
        (True, 1, 1, 1),
        (None, 0.0, 1, 1),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 1, 1),
        ([1, 2], [1], 1, 1),
        ({"exponent": 0.5, "other": 0.5}, {"exponent": 0.51, "other": 0.51}, 2, 1),
        ({"mean_residual_milli": 0.0095874, "x": 0.0095874}, {"mean_residual_milli": 0.0095877, "x": 0.0095877}, 2, 1),
        ({"mean_residual_milli": 0.0095}, {"mean_residual_milli": 0.0096}, 1, 1),
        ({"starts_agreeing": 15}, {"starts_agreeing": 14}, 1, 0),
        ("15 of 16 starts agree, scaled gradient 1e-9, x", "14 of 16 starts agree, scaled gradient 3e-9, x", 1, 0),
    ],
)
def test_a_difference_is_seen(expected, found, exact, elsewhere):
    assert len(list(differences(expected, found, exact=True))) == exact
    assert len(list(differences(expected, found, exact=False))) == elsewhere
