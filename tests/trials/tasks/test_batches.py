"""Texts in batches: by length, each text once, within a number of positions and of sequences."""

from __future__ import annotations

import pytest

from sweeplaw.trials.tasks.likelihood import Continuation, batches, padded


def texts(*lengths: int) -> list[Continuation]:
    return [Continuation(tuple(range(1, length + 1)), 1) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "positions", "expected"),
    [
        ((5, 3, 3, 8), 10, [[1, 2], [0], [3]]),  # three of five tokens would be fifteen
        ((5, 3, 3, 8), 15, [[1, 2, 0], [3]]),
        ((5, 3, 3, 8), 14, [[1, 2], [0], [3]]),
        ((4, 4, 4), 1, [[0], [1], [2]]),  # a text that is too long for a batch is one by itself
        ((), 10, []),
    ],
)
def test_a_batch_is_padded_to_at_most_so_many_positions(
    lengths: tuple[int, ...], positions: int, expected: list[list[int]]
) -> None:
    assert list(batches(texts(*lengths), positions)) == expected


def test_a_batch_has_at_most_256_texts() -> None:
    assert [len(batch) for batch in batches(texts(*[2] * 600), 10**9)] == [256, 256, 88]


def test_padding_is_no_part_of_a_continuation() -> None:
    tokens, counted = padded([Continuation((7, 8, 9, 5), 2), Continuation((4, 6), 1)])
    assert tokens.tolist() == [[7, 8, 9, 5], [4, 6, 0, 0]]
    assert counted.tolist() == [[False, True, True], [True, False, False]]
