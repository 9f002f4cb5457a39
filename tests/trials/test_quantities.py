"""Formatting of numbers and settings."""

import pytest

from sweeplaw.trials.quantities import counted, disk_size, hours, number, percent, settings, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999_999_999, "1B"),
        (999_499_999, "999M"),
        (1_000, "1k"),
        (999_999, "1M"),
        (184_233_000, "184M"),
        (999, "999"),
        (0.00123456, "0.00123"),
        (-2_500.0, "-2.5k"),
        (4.2e12, "4.2T"),
        (1.2e18, "1.2e+18"),
        (999_999_999_999_999, "1e+15"),
        (123 * 10**400, "1.23e+402"),
        (0, "0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_three_digits_and_the_unit_they_round_to(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (8_400, "8.4 kB"), (40_000_000_000, "40.0 GB"), (2 * 10**15, "2,000.0 TB")],
)
def test_bytes_have_a_unit_of_their_size(count, text):
    assert disk_size(count) == text


def test_a_count_of_one_is_singular():
    assert [counted(n, "trial") for n in (0, 1, 2, 1575)] == ["0 trials", "1 trial", "2 trials", "1,575 trials"]


def test_settings_show_floats_in_six_digits_and_other_values_unchanged():
    assert settings({"lr": 0.1 + 0.2, "batch_tokens": 131072, "optimizer": "muon"}) == (
        "lr=0.3, batch_tokens=131072, optimizer=muon"
    )
    assert settings({"batch_tokens": 131072.0, "N": 1e6}) == "batch_tokens=131072, N=1e+06"


@pytest.mark.parametrize(
    ("text", "value"),
    [("7e9", 7e9), ("7B", 7e9), ("1.5k", 1500.0), ("12M", 12e6), ("2T", 2e12), ("3G", 3e9), ("40", 40.0)],
)
def test_a_number_may_have_a_unit(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "B", "7X", "7BB", "x"])
def test_other_text_is_no_number(text):
    with pytest.raises(ValueError, match="is not a number"):
        number(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.01, "36 s"), (119.4 / 3600, "119 s"), (120 / 3600, "2 min"), (7199 / 3600, "120 min"),
     (2, "2.0 h"), (999.9, "999.9 h"), (1000, "1k h"), (1500, "1.5k h")],
)  # fmt: skip
def test_hours_in_the_unit_of_their_size(value, text):
    assert hours(value) == text


def test_shares_have_four_digits():
    assert [percent(share) for share in (0.95, 0.999, 0.12345678)] == ["95 %", "99.9 %", "12.35 %"]
