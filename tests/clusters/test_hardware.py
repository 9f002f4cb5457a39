"""Hardware: peaks against published figures, estimates against the measurements they are made from."""

from __future__ import annotations

import pytest

from clusters import hardware
from clusters.errors import ProfileError


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


@pytest.mark.parametrize(("params", "gflops"), [(12e3, 30), (55e3, 43), (220e3, 65), (920e3, 80), (3e6, 93), (1e9, 93)])
def test_a_core_is_as_fast_as_measured(params: float, gflops: float) -> None:
    assert hardware.get("cpu-core").seconds(1e12, params=params) == pytest.approx(1e3 / gflops)


@pytest.mark.parametrize("name", hardware.known())
def test_estimates_grow_with_work_and_never_beat_the_peak(name: str) -> None:
    device = hardware.get(name)
    assert device.seconds(2e15) == pytest.approx(2 * device.seconds(1e15))
    shares = [device.share_of_peak(10**exponent) for exponent in range(3, 12)]
    assert shares == sorted(shares)
    assert all(0 < share <= 1 for share in shares)
    assert device.source


def test_number_types_a_device_lacks_are_refused_and_the_best_one_is_the_default() -> None:
    assert hardware.get("v100-32").dtype == "fp16"
    assert hardware.get("cpu-core").dtype == "fp32"
    with pytest.raises(ProfileError, match="v100-32 has no bf16 rate"):
        hardware.get("v100-32").seconds(1.0, "bf16")


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean 'a100-80'"):
        hardware.get("a100-8")
