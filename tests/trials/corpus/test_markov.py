"""The Markov source: its entropy rate against closed forms, samples and an ideal predictor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeplaw.trials.corpus import markov
from sweeplaw.trials.corpus.markov import MarkovSource


@pytest.mark.parametrize(
    "source", [MarkovSource(states=5, seed=2), MarkovSource(states=3, order=2), MarkovSource(states=2, order=4)]
)
def test_the_stationary_distribution_is_a_left_eigenvector(source: MarkovSource) -> None:
    table = markov.transitions(source)
    rows = np.arange(len(table))
    step = np.zeros((len(table), len(table)))
    for state in range(source.states):
        step[rows, (rows * source.states + state) % len(table)] += table[:, state]
    values, vectors = np.linalg.eig(step.T)
    first = np.real(vectors[:, np.argmax(np.real(values))])
    assert markov.stationary(source) == pytest.approx(first / first.sum(), abs=1e-10)


def test_two_states_have_their_textbook_entropy_rate() -> None:
    # Cover and Thomas 2006, example after theorem 4.2.4: (q H(p) + p H(q)) / (p + q).
    source = MarkovSource(states=2, spread=1.3, seed=4)
    (_, p), (q, _) = markov.transitions(source)
    expected = (q * _entropy(p) + p * _entropy(q)) / (p + q)
    assert markov.entropy_rate(source.name) == pytest.approx(expected, abs=1e-12)


def _entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_a_nearly_uniform_source_has_nearly_the_log_of_its_states() -> None:
    assert markov.entropy_rate("markov:states=32,spread=0.0001") == pytest.approx(math.log(32), abs=1e-6)


@pytest.mark.parametrize(
    "source", [MarkovSource(states=16, tokens=2**20), MarkovSource(states=6, order=2, tokens=2**20)]
)
@pytest.mark.heavy
def test_an_ideal_predictor_reaches_the_entropy_rate_and_no_less(source: MarkovSource) -> None:
    corpus = markov.open_markov(source.name)
    rate = markov.entropy_rate(source.name)
    for stream, tolerance in ((corpus.validation, 0.0015), (corpus.train, 0.006)):
        surprise = _surprise(source, stream.tokens.reshape(len(stream.starts), -1))
        assert surprise.mean() == pytest.approx(rate, abs=tolerance)


def _surprise(source: MarkovSource, chains: np.ndarray) -> np.ndarray:
    chains = chains.astype(np.int64)
    past = sum(
        chains[:, i : chains.shape[1] - source.order + i] * source.states ** (source.order - 1 - i)
        for i in range(source.order)
    )
    return -np.log(markov.transitions(source)[past, chains[:, source.order :]])


@pytest.mark.heavy
def test_the_attainable_loss_of_short_contexts_is_their_conditional_entropy() -> None:
    source = MarkovSource(states=4, order=3, spread=1.5)
    rate = markov.entropy_rate(source.name)
    losses = [markov.attainable_loss(source.name, context) for context in (1, 2, 4, 64, 4096)]
    assert losses == sorted(losses, reverse=True)  # more past never increases the loss
    assert losses[-1] == pytest.approx(rate, abs=1e-3)
    assert markov.attainable_loss("markov:states=9", 3) == pytest.approx(markov.entropy_rate("markov:states=9"))
    chains = markov.open_markov(source.name).validation.tokens.reshape(1024, -1).astype(np.int64)
    pairs = np.bincount((chains[:, :-1] * 4 + chains[:, 1:]).ravel(), minlength=16).reshape(4, 4) / chains[:, 1:].size
    empirical = -(pairs * np.log(pairs / pairs.sum(axis=1, keepdims=True))).sum()
    assert losses[0] == pytest.approx(empirical, abs=3e-3)


@pytest.mark.heavy
def test_each_validation_chain_is_as_random_as_a_training_chain() -> None:
    # Drawing validation chains together must not change the transition frequencies of one chain.
    source = MarkovSource(states=8, tokens=2**20)
    corpus = markov.open_markov(source.name)
    alone, together = (
        _surprise(source, stream.tokens.reshape(len(stream.starts), -1)).mean(axis=1)
        for stream in (corpus.train, corpus.validation)
    )
    assert together.std() == pytest.approx(alone.std(), rel=0.1)  # 1024 chains each: 2.2 % standard error


@pytest.mark.heavy
def test_the_same_name_is_the_same_text() -> None:
    first, second = (markov.open_markov("markov:states=8,tokens=4096").train.tokens for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, markov.open_markov("markov:states=8,tokens=4096,seed=1").train.tokens)


@pytest.mark.heavy
def test_there_are_at_least_as_many_training_tokens_as_named() -> None:
    assert markov.open_markov("markov:states=8,tokens=5000").train.windows(64) * 64 >= 5000
