"""How much text is asked for: a number, or a formula over the best setting."""

from __future__ import annotations

import pytest

from sweeplaw.orchestrator.launch.evaluation.synthesis import MOST_TOKENS, request_of
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.sampling.corpora import SamplingOptions

SCOPE = {"unique_tokens": 1000, "epochs": 2.5, "corpus": "x"}


@pytest.mark.parametrize(
    ("tokens", "found"),
    [("10M", 10_000_000), ("1e3", 1000), ("2 * unique_tokens", 2000), ("epochs * unique_tokens / 2", 1250),
     ("unique_tokens - 999", 1)],
)  # fmt: skip
def test_tokens_are_a_number_or_a_formula_over_the_best_setting(tokens: str, found: int) -> None:
    request = request_of("abc", tokens, SamplingOptions(), SCOPE)
    assert (request.tokens, request.teachers) == (found, "abc")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("unique_tokens - 1000", r"is 0 \(accepted: a positive number below 9,007,199,254,740,992\)"),
        ("-unique_tokens", r"is -1000 \(accepted: a positive number below"),
        (f"{MOST_TOKENS} + 0 * unique_tokens", r"\(accepted: a positive number below"),
        ("2 * tokens + bytes", r"bytes, tokens is not known \(accepted: a number such as 10M, or a formula over knobs"),
    ],
)
def test_what_is_no_number_of_tokens_is_refused(tokens: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        request_of("abc", tokens, SamplingOptions(), SCOPE)
    with pytest.raises(InputError, match=r"is not known \(accepted: a number such as 10M\)"):
        request_of("abc", tokens, SamplingOptions())
