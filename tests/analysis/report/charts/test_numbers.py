"""Numbers for people: no exponents, no negative zero, and the digits that an interval leaves."""

import pytest

from sweeplaw.analysis.report.charts.numbers import (
    estimate,
    fixed,
    flops,
    level,
    level_form,
    people,
    percent,
    power_of_ten,
    without_e,
)

NARROW = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.26e9, "2.26 B"),
        (999_999_999, "1 B"),
        (12_345, "12.3 k"),
        (999.7, "1 k"),
        (0.003, "0.003"),
        (-0.0, "0"),
        (-42.0, "−42"),
        (3.1e21, "3.1 × 10²¹"),
        (1e15, "10¹⁵"),
        (3.2e-5, "3.2 × 10⁻⁵"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_a_number_has_a_unit_to_ten_to_the_fifteen_and_a_power_of_ten_beyond(value, text):
    assert people(value) == text.replace(" ", NARROW)


def test_knobs_are_shown_in_full_and_shares_in_per_cent():
    assert [level(value) for value in (2048, 16, 1e5, 0.0003)] == ["2,048", "16", f"100{NARROW}k", "0.0003"]
    assert [percent(value) for value in (0.0082, 0.5, 0.0, None)] == [
        f"0.82{NARROW}%",
        f"50{NARROW}%",
        f"0{NARROW}%",
        "–",
    ]
    assert (flops(6e20), flops(None)) == (f"6{NARROW}×{NARROW}10²⁰", "–")
    assert power_of_ten(-1e3) == "−10³"
    assert (
        without_e("at 6e+20 FLOPs, 1.5e-07 of some1e+20")
        == f"at 6{NARROW}×{NARROW}10²⁰ FLOPs, 1.5{NARROW}×{NARROW}10⁻⁷ of some1e+20"
    )
    assert [fixed(value, 3) for value in (2690.4, 0.0123456, 1e7)] == ["2,690", "0.0123", "10,000,000"]


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.34812, 0.3131, 0.4213, ("0.348", "0.313 to 0.421")),
        (1.8453, 1.829, 1.874, ("1.845", "1.829 to 1.874")),
        (490.5, 280.2, 1760.0, ("490", "280 to 1,760")),
        (2.152e9, 2.135e9, 2.168e9, ("2.152 B", "2.135 to 2.168 B")),
        (-0.719, -0.733, -0.705, ("−0.719", "−0.733 to −0.705")),
        (190.0, 8.9, 58_000.0, ("190", "8.9 to 58 k")),  # over a factor of twenty wide
        (6.7e6, 1.8e6, 2.5e30, ("6.7 M", "1.8 M to unbounded")),
        (1.73, 0.0, None, ("1.7", "0 to unbounded")),
        (1.73, None, None, ("1.73", "no interval")),
        (None, None, None, ("–", "")),
    ],
)
def test_a_value_has_the_digits_that_its_interval_deserves(value, low, high, text):
    assert estimate(value, low, high, units=(value is not None and value >= 1e6) or (high or 0) > 1e4) == tuple(
        part.replace(" B", f"{NARROW}B").replace(" M", f"{NARROW}M").replace(" k", f"{NARROW}k") for part in text
    )
    assert estimate(1.73, None, None, identified=False)[1] == "unbounded"


@pytest.mark.parametrize(
    ("levels", "shown", "name"),
    [
        ([512.0, 79_912.0], ["512", "79,912"], "level"),
        ([79_912.0, 128_000.0], ["79.9 k", "128 k"], "people"),
        ([0.0, 1e-5, 1e-3], ["0", "10⁻⁵", "10⁻³"], "power_of_ten"),
    ],
)
def test_levels_of_one_axis_are_written_in_one_form_which_the_script_knows(levels, shown, name) -> None:
    write = level_form(levels)
    assert [write(value).replace(NARROW, " ") for value in levels] == shown
    assert write.__name__ == name
