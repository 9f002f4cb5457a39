"""`sweeplaw forecast` on a store and on a file: written once, found again, scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.store import atomic
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format import checksum
from sweeplaw.trials.store_format.location import locate

pytestmark = [pytest.mark.process, pytest.mark.heavy]

SWEEP = """
name = "small"
workload = "surrogate"

[scientific]
params = { log = [1e7, 1e9], num = 4 }
tokens = { log = [1e9, 1e11], num = 3 }

[fixed]
lr = 0.01
weight_decay = 0.1
batch_sequences = 32
noise = 0.003
"""


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "small.toml").write_text(SWEEP)
    run("launch", folder / "small.toml", "--store", folder / "store", "--cluster", "inline")
    return folder / "store"


def registered(store: Path, *words: str) -> Any:
    return json.loads(run("forecast", "register", store, "--at", "N=4e9,D=8e10", *words, "--json"))


def test_a_store_keeps_its_forecasts_and_score_finds_them(store):
    found = registered(store, "--who", "Ada", "--assume", "the same corpus")
    assert found["registered_by"] == "Ada"
    assert found["targets"][0]["inputs"] == {"N": 4e9, "D": 8e10}
    assert Path(found["file"]).is_relative_to(store / "forecasts")
    sheet = json.loads(run("forecast", "score", store, "--json"))
    assert [one["forecast"] for one in sheet["scored"]] == [found["name"]]
    assert sheet["scored"][0]["observed"] is None
    assert found["name"] in run("forecast", "score", store)
    assert "completed" in run("status", store)  # the other commands know the folder


def test_a_damaged_forecast_is_named_and_the_others_are_scored(store):
    found = registered(store)
    path = Path(found["file"])
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b'"law": "', b'"law": "x'))
    result = CliRunner().invoke(app, ["forecast", "score", str(store)])
    path.write_bytes(sound)
    assert result.exit_code == 3
    assert f"forecasts/{path.name}" in result.stderr


@pytest.mark.parametrize("stamp", [False, True])
def test_a_changed_forecast_is_shown_and_its_bands_held_nothing(store, tmp_path, stamp):
    copy = shutil.copytree(store, tmp_path / "store", ignore=shutil.ignore_patterns("forecasts"))
    found = registered(copy)
    path = Path(found["file"])
    content = json.loads(path.read_bytes())
    content["targets"][0]["median"] = 2.0
    if stamp:  # as an attacker who knows the format writes it
        content.pop(checksum.KEY)
        atomic.publish_json(locate(copy), f"forecasts/{path.name}", content)
    else:
        path.write_text(json.dumps(content))
    result = CliRunner().invoke(app, ["forecast", "score", str(copy)])
    assert result.exit_code == 3
    assert f"{found['name']} was changed after it was registered" in result.stdout
    assert "was changed after it was registered" in result.stderr
    assert "cannot be read" not in result.stderr
    report = CliRunner().invoke(app, ["report", str(copy)])
    assert report.exit_code == 3
    page = (copy / "report.html").read_text()
    assert "changed after it was registered" in page


def test_a_changed_file_of_a_forecast_ends_the_command_with_3(store, tmp_path):
    out = tmp_path / "forecast.json"
    registered(store, "--out", str(out))
    out.write_text(out.read_text().replace('"law": "skaling"', '"law": "additive"'))
    result = CliRunner().invoke(app, ["forecast", "score", str(store), str(out)])
    assert result.exit_code == 3
    assert f"{out} was changed after it was registered" in result.stderr


def test_a_point_that_has_been_run_cannot_be_forecast(store):
    sizes = json.loads(run("query", store, "SELECT N, D FROM trials LIMIT 1", "--json"))[0]
    point = f"N={sizes['N']},D={sizes['D']}"
    for words in ((), ("--where", f"N <> {sizes['N']}")):
        with pytest.raises(InputError, match="has been run"):
            run("forecast", "register", store, "--at", point, *words)


def test_a_file_is_never_written_over(store, tmp_path):
    table = tmp_path / "runs.csv"
    run("export", store, table)
    words = ("--x", "N=params", "--x", "D=tokens", "--y", "val_loss")
    with pytest.raises(InputError, match="--out"):
        registered(table, *words)
    out = tmp_path / "forecast.json"
    found = registered(table, *words, "--out", str(out))
    before = out.read_bytes()
    with pytest.raises(InputError, match="will not be overwritten"):
        registered(table, *words, "--out", str(out))
    assert out.read_bytes() == before
    assert json.loads(before)["digest"] == found["digest"]
    assert found["name"] in run("forecast", "score", table, out)


def test_without_a_forecast_there_is_nothing_to_score(tmp_path, store):
    other = shutil.copytree(store, tmp_path / "store", ignore=shutil.ignore_patterns("forecasts"))
    with pytest.raises(InputError, match="no forecast is registered"):
        run("forecast", "score", other)
    with pytest.raises(InputError, match="--at N"):
        run("forecast", "register", other)
