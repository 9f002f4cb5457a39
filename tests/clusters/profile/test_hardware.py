"""Hardware: peaks against published figures, estimates against the measurements they were fitted to."""

from __future__ import annotations

import pytest

from sweeplaw.clusters.profile import hardware
from sweeplaw.trials.errors import InputError


@pytest.mark.parametrize(
    ("name", "bf16_teraflops", "gigabytes"),
    [
        ("a100-80", 312, 80),
        ("h100-sxm", 989.5, 80),
        ("h200", 989.5, 141),
        ("l40s", 362.05, 48),
        ("mi300x", 1307.4, 192),
    ],
)
def test_peaks_are_the_published_dense_ones(name: str, bf16_teraflops: float, gigabytes: int) -> None:
    device = hardware.get(name)
    assert device.peak["bf16"] == bf16_teraflops * 1e12
    assert device.memory_bytes == gigabytes * 10**9


@pytest.mark.parametrize("name", [name for name in hardware.known() if "tf32" in hardware.get(name).peak])
def test_number_types_of_half_the_bits_are_twice_as_fast(name: str) -> None:
    peak = {dtype: rate / 1e12 for dtype, rate in hardware.get(name).peak.items()}
    assert peak["fp16"] == peak["bf16"]
    # 2 %: data sheets round, and a rate with sparsity would be twice as high
    assert peak["tf32"] == pytest.approx(peak["bf16"] / 2, rel=0.02)
    assert peak.get("fp8", 2 * peak["bf16"]) == pytest.approx(2 * peak["bf16"], rel=0.02)


# Milliseconds a step, one thread a trial. First the demo's trials: medians of its recorded table.
# The last three are the training loop alone, least of six turns of five steps.
MEASURED = [  # parameters, tokens a step, FLOPs a step, milliseconds a step
    (14_160, 512, 5.608e7, 9.55),
    (14_160, 1024, 1.122e8, 13.85),
    (24_216, 512, 9.327e7, 10.62),
    (24_216, 1024, 1.865e8, 16.21),
    (41_248, 512, 1.519e8, 13.58),
    (41_248, 1024, 3.038e8, 20.32),
    (74_352, 512, 2.662e8, 15.93),
    (74_352, 1024, 5.323e8, 26.28),
    (211_520, 1024, 1.702e9, 57.12),
    (812_160, 1024, 5.795e9, 144.04),
    (2_705_856, 1024, 1.844e10, 374.03),
]


@pytest.mark.parametrize(("params", "tokens", "flops", "milliseconds"), MEASURED)
def test_estimates_for_a_core_are_within_a_factor_of_1_5_of_measurements(
    params: int, tokens: int, flops: float, milliseconds: float
) -> None:
    steps = 200
    estimated = hardware.get("cpu-core").seconds(steps * flops, params=params, steps=steps, tokens=steps * tokens)
    assert 1 / 1.5 < estimated / (steps * milliseconds / 1e3) < 1.5


@pytest.mark.parametrize("name", hardware.known())
def test_estimates_grow_with_work_and_never_beat_the_peak(name: str) -> None:
    device = hardware.get(name)
    assert device.seconds(2e15) == pytest.approx(2 * device.seconds(1e15))
    shares = [device.share_of_peak(10**exponent) for exponent in range(3, 12)]
    assert shares == sorted(shares)
    assert all(0 < share <= 1 for share in shares)
    assert device.source


def test_unsupported_number_types_are_refused_and_the_best_one_is_the_default() -> None:
    assert hardware.get("v100-32").dtype == "fp16"
    assert hardware.get("cpu-core").dtype == "fp32"
    with pytest.raises(InputError, match="v100-32 has no bf16 rate"):
        hardware.get("v100-32").seconds(1.0, "bf16")


def test_a_misspelt_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'a100-80'"):
        hardware.get("a100-8")
