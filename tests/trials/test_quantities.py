import pytest

from trials.quantities import short


@pytest.mark.parametrize(
    ("value", "said"),
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
        (0, "0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_told_in_three_digits_and_the_unit_they_round_to(value, said):
    assert short(value) == said
