"""The commands about how a model trains, as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from sweeplaw.orchestrator.cli.training.coordinate_figure import NAMES, changes_by_width
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.trials.workloads.language_model.coordinate_check import CoordinateChange
from tests.paths import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]

SWEEP = """
name = "tiny"
workload = "language_model"
[scientific]
width = [32]
[fixed]
depth = 2
corpus = "markov:states=12,spread=1.5,tokens=65536"
context = 16
validation_tokens = 512
unique_tokens = 8192
batch_sequences = 8
curve_points = 32
schedule = "linear"
"""


def sweeplaw(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeplaw", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("training")
    (here / "tiny.toml").write_text(SWEEP)
    (here / "other.toml").write_text((ROOT / "orchestrator/sweeps/surrogate.toml").read_text())
    done = sweeplaw(here, "launch", "tiny.toml", "--store", "store", "--cluster", "inline")
    assert done.returncode == 0, done.stderr
    return here


def test_a_coordinate_check_draws_and_says_what_moves(folder: Path) -> None:
    done = sweeplaw(folder, "coordinate-check", "tiny.toml", "--widths", "32,64", "--steps", "3", "--out", "c.png")
    assert done.returncode == 0, done.stderr
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert {row[0] for row in rows} == {"standard", "mup"}
    answer = json.loads(
        sweeplaw(folder, "coordinate-check", "tiny.toml", "--widths", "32,64", "--steps", "3", "--json").stdout
    )
    shown = [float(line.split("  ")[-2]) for line in done.stdout.splitlines()[1:]]
    assert [round(item["exponent"], 2) for item in answer["exponents"]] == pytest.approx(shown, abs=0.011)
    assert len(answer["changes"]) == 2 * 2 * 3 * 4


def test_the_lines_of_a_deep_model_have_colours_of_their_own_and_a_legend_beside_them() -> None:
    layers = ["embedding", *map(str, range(9)), "logits"]
    figure = changes_by_width(
        [CoordinateChange(name, width, 3, layer, 0.1) for name in NAMES for layer in layers for width in (32, 64)]
    )
    figure.draw_without_rendering()
    assert len({to_hex(line.get_color()) for line in figure.axes[0].lines}) == len(layers)
    (legend,) = figure.legends
    assert not any(axes.get_window_extent().overlaps(legend.get_window_extent()) for axes in figure.axes)


def test_a_profile_has_all_parts_of_a_step(folder: Path) -> None:
    done = sweeplaw(folder, "profile", "tiny.toml", "--steps", "4", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    parts = sum(answer[f"{name}_seconds"] for name in ("data", "forward", "backward", "optimizer", "other"))
    assert parts == pytest.approx(answer["step_seconds"])
    assert answer["planned_bytes"] > 0
    text = sweeplaw(folder, "profile", "tiny.toml", "--steps", "4").stdout
    assert all(word in text for word in ("forward", "backward", "optimizer", "palm convention", "MFU", "planned"))


def test_a_refined_schedule_is_a_sweep_that_runs(folder: Path) -> None:
    (trial,) = plan(read(folder / "tiny.toml")).ids
    done = sweeplaw(folder, "refine-schedule", "store", trial[:6], "--out", "refined.toml")
    assert done.returncode == 0, done.stderr
    (spec,) = plan(read(folder / "refined.toml")).specs
    assert spec["schedule"] == "points"
    assert (spec["width"], spec["unique_tokens"], spec["curve_points"]) == (32, 8192, 32)
    done = sweeplaw(folder, "launch", "refined.toml", "--store", "store", "--cluster", "inline")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("profile", "other.toml"), "is a sweep of the workload 'surrogate' (accepted: 'language_model')"),
        (("profile", "tiny.toml", "--device", "cuda"), "this machine has no CUDA device (accepted here: cpu)"),
        (("coordinate-check", "tiny.toml", "--widths", "32"), "two or more"),
        (("coordinate-check", "tiny.toml", "--widths", "a,b"), "whole numbers, such as 64,128,256"),
        (("coordinate-check", "tiny.toml", "--out", "x.jpg"), "unsupported extension (accepted: .png, .svg, .pdf)"),
        (("refine-schedule", "store", "ffff"), "has no trial 'ffff'"),
    ],
)
def test_what_they_cannot_do_is_one_message(folder: Path, arguments: tuple[str, ...], fault: str) -> None:
    done = sweeplaw(folder, *arguments)
    assert done.returncode == 2
    assert fault in done.stderr
    assert "Traceback" not in done.stderr
