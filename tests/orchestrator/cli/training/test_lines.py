"""What the commands about training print, of values written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.training import profile
from sweeplaw.trials.workloads.language_model import coordinate_check
from sweeplaw.trials.workloads.language_model.coordinate_check import CoordinateChange
from sweeplaw.trials.workloads.language_model.step_profile import StepProfile
from tests.paths import ROOT

FOUND = StepProfile(
    device="cpu",
    steps=1,
    parts={"data": 0.0005, "forward": 0.0015},
    step_seconds=0.002,
    evaluation_seconds=1.23456,
    tokens_per_second=64_000.0,
    flops=4e6,
    flops_convention="palm",
    peak_flops=8e9,
    peak_bytes=12_345_678,
    planned_bytes=20_000_000,
)


def test_a_profile_has_times_shares_speed_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    profile._print(FOUND)
    assert capsys.readouterr().out.splitlines() == [
        "1 step on cpu: 2 ms a step, 64k tokens/s",
        "  data             0.5 ms   25.0 %",
        "  forward          1.5 ms   75.0 %",
        "  one evaluation takes 1.23 s",
        "2B FLOP/s by the palm convention: 25.0 % of the device's 8B (MFU)",
        "memory of training 12.35 MB with what the heap holds free, planned 20 MB of tensors",
    ]
    profile._print(replace(FOUND, device="cuda"))
    assert capsys.readouterr().out.splitlines()[-1] == "memory of training 12.35 MB, planned 20 MB of tensors"
    profile._print(replace(FOUND, steps=2, peak_flops=None, peak_bytes=None))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 steps on cpu: 2 ms a step, 64k tokens/s"
    assert lines[-2:] == [
        "2B FLOP/s by the palm convention; the peak of this device is not known",
        "memory of training is not measured here, planned 20 MB of tensors",
    ]


@pytest.mark.parametrize(
    ("model", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),  # dense, by NVIDIA's data sheet
        ("NVIDIA A100-SXM4-40GB", "bfloat16", 312e12),
        ("NVIDIA A100-SXM4-40GB", "float32", 19.5e12),
        ("a toaster", "bfloat16", None),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_its_data_sheet(model: str, precision: str, peak: float | None) -> None:
    assert profile._data_sheet_peak(model, precision) == (None if peak is None else pytest.approx(peak, rel=0.01))


@pytest.mark.heavy
def test_a_coordinate_check_says_which_layers_move_with_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exponents are planted: by width 32 and 64, changes of 2^slope."""
    slopes = {("standard", "embedding"): 0.0, ("standard", "0"): 1.0, ("mup", "embedding"): -0.25, ("mup", "0"): 0.1}
    changes = [
        CoordinateChange(name, width, step, layer, step * (width / 32) ** slope)
        for (name, layer), slope in slopes.items()
        for width in (32, 64)
        for step in (1, 2)
    ]
    given: list[Any] = []

    def check(*arguments: Any) -> list[CoordinateChange]:
        given.extend(arguments[2:4])
        return changes

    monkeypatch.setattr(coordinate_check, "check_coordinates", check)
    words = ["coordinate-check", str(ROOT / "orchestrator/sweeps/demo.toml"), "--widths", "64,32,64", "--steps", "2"]
    text = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert given == [[32, 64], 2]
    assert text.splitlines() == [
        "exponent of the width in the change of activations after 2 steps, widths 64,32,64",
        "  standard  embedding    0.00  alike at every width",
        "  standard  block 0      1.00  moves with the width",
        "  mup       embedding   -0.25  moves with the width",
        "  mup       block 0      0.10  alike at every width",
    ]
    answer = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert (answer["widths"], answer["steps"]) == ([32, 64], 2)
    assert {(one["parametrization"], one["layer"]): one["exponent"] for one in answer["exponents"]} == pytest.approx(
        slopes
    )
    assert answer["changes"][1] == {
        "parametrization": "standard", "width": 32, "step": 2, "layer": "embedding", "change": 2.0
    }  # fmt: skip
