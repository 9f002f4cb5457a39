"""Shapes for parameter counts meet the count and follow the rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeplaw.trials.accounting import Shape, parameters
from sweeplaw.trials.workloads.language_model.shapes import _ffn_is_acceptable, default_heads, rule_depth, solve


@settings(deadline=None)
@given(
    target=st.floats(4.5, 12).map(lambda power: round(10**power)),
    count=st.sampled_from(["params", "params_non_embedding"]),
    vocabulary=st.sampled_from([16, 256, 50_304]),
    tied=st.booleans(),
    qk_norm=st.booleans(),
)
@pytest.mark.heavy
def test_a_solved_shape_is_within_one_percent_of_its_target(
    target: int, count: Literal["params", "params_non_embedding"], vocabulary: int, tied: bool, qk_norm: bool
) -> None:
    try:
        shape = solve(target, count, vocabulary=vocabulary, tied_embeddings=tied, qk_norm=qk_norm)
    except ValueError:
        assert count == "params"
        assert target < 100 * vocabulary  # most of which the embedding needs
        return
    groups = parameters(shape)
    reached = groups.total if count == "params" else groups.non_embedding
    assert reached == pytest.approx(target, rel=0.01)


@given(width=st.integers(1, 4000).map(lambda n: 8 * n))
def test_heads_divide_the_width_into_even_parts(width: int) -> None:
    assert width % (2 * default_heads(width)) == 0


@pytest.mark.parametrize("target", [30_000, 300_000, 3_000_000, 30_000_000, 1_000_000_000])
def test_depth_stays_near_the_rule(target: int) -> None:
    shape = solve(target, "params_non_embedding", vocabulary=256, tied_embeddings=False, qk_norm=False)
    assert 0.6 < shape.depth / rule_depth(shape.width) < 1.6
    assert 1.5 < shape.ffn / shape.width < 5


@pytest.mark.parametrize("power", np.arange(4.5, 10, 0.1).tolist())
def test_sizes_are_steps_that_suit_matrix_products(power: float) -> None:
    """Small models in steps of 8; from width 128 on whole heads, whose size is the usual one, and hidden steps of 8."""
    found = solve(round(10**power), "params_non_embedding", vocabulary=256, tied_embeddings=False, qk_norm=False)
    head = 8 if found.width < 128 else 32 if found.width < 512 else 64 if found.width < 2048 else 128
    assert found.width % head == 0
    if found.width >= 128:
        assert (found.width // found.heads, found.ffn % 8) == (head, 0)


def test_a_model_of_few_widths_is_up_to_sixteen_times_as_deep_as_the_rule_and_no_deeper() -> None:
    """Between the embeddings of widths 16 and 24 the whole count is met by depth."""
    deepest = Shape(32, 16, 1, 80, 50_304, tied_embeddings=True)  # the rule's depth at width 16 is 2
    found = solve(parameters(deepest).total, "params", vocabulary=50_304, tied_embeddings=True, qk_norm=deepest.qk_norm)
    assert (found.width, found.depth, found.ffn) == (16, 32, 80)
    deeper = parameters(replace(deepest, depth=33)).total
    with pytest.raises(ValueError, match="can leave gaps"):
        solve(deeper, "params", vocabulary=50_304, tied_embeddings=True, qk_norm=deepest.qk_norm)


def test_a_target_below_the_smallest_model_is_refused_with_the_smallest() -> None:
    with pytest.raises(ValueError, match=r"the smallest has 1[\d,]+;"):
        solve(1000, "params", vocabulary=256, tied_embeddings=False, qk_norm=False)


@pytest.mark.parametrize("count", ["params", "params_non_embedding"])
@pytest.mark.parametrize("vocabulary", [257, 5000])
def test_the_smallest_model_that_a_refusal_names_is_the_smallest(
    count: Literal["params", "params_non_embedding"], vocabulary: int
) -> None:
    options: dict[str, Any] = {"vocabulary": vocabulary, "tied_embeddings": True, "qk_norm": True}
    with pytest.raises(ValueError, match=r"the smallest has [\d,]+;") as caught:
        solve(100, count, **options)
    least = int(str(caught.value).partition("the smallest has ")[2].partition(";")[0].replace(",", ""))
    found = parameters(solve(least, count, **options))
    assert least == (found.total if count == "params" else found.non_embedding)
    with pytest.raises(ValueError, match="the smallest has"):
        solve(least - 25, count, **options)  # more than half a step of the hidden width, 3 * 16 parameters


@pytest.mark.parametrize(("ffn", "accepted"), [(95, False), (96, True), (320, True), (321, False)])
def test_a_hidden_width_is_one_and_a_half_to_five_widths(ffn: int, accepted: bool) -> None:
    assert _ffn_is_acceptable(Shape(2, 64, 1, ffn, 256)) == accepted
