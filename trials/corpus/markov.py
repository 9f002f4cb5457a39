"""A random source with an exactly known entropy rate, so that a law fitted to losses has a known asymptote.

A Markov chain of order k over S states: the next state depends on the last k through a table of S^k rows, each the
softmax of independent normal numbers times ``spread``. The stationary distribution of the last k states is found by
power iteration, and the entropy rate is the mean entropy of a row under it (Cover and Thomas 2006, theorem 4.2.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.corpus.shuffle import Indices
from sweeplaw.trials.corpus.streams import Corpus, TokenStream
from sweeplaw.trials.errors import InputError, nearest

CHAIN = 2**10  # transitions of one chain, and so the longest context: windows never cross into the next chain
VALIDATION_CHAINS = 2**10  # about a million tokens
LARGEST_TABLE = 2**24  # entries

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MarkovSource:
    """A parsed ``markov:`` name.

    ``tokens`` is the size of the training text; ``spread`` is the standard deviation of the rows' logits.
    """

    states: int = 64
    order: int = 1
    seed: int = 0
    spread: float = 2.0
    tokens: int = 2**22

    @property
    def name(self) -> str:
        """The canonical corpus name."""
        return "markov:" + ",".join(f"{item.name}={getattr(self, item.name)}" for item in fields(self))


def parse(corpus: str) -> MarkovSource:
    """Parse a corpus name ``markov:states=64,order=1,…``; omitted options have their defaults. Raise InputError."""
    types: dict[str, type[int] | type[float]] = {
        item.name: float if item.name == "spread" else int for item in fields(MarkovSource)
    }
    values: dict[str, int | float] = {}
    faults = []
    for part in filter(None, corpus.removeprefix("markov").removeprefix(":").split(",")):
        key, _, text = part.partition("=")
        try:
            values[key] = types[key](text)
        except KeyError:
            faults.append(f"{key!r} is not known (accepted: {', '.join(types)}){nearest(key, types)}")
        except ValueError:
            faults.append(f"{key} = {text!r} is not a number")
    source = MarkovSource(**values) if not faults else MarkovSource()  # type: ignore[arg-type]
    if source.states < 2 or source.order < 1 or source.states ** (source.order + 1) > LARGEST_TABLE:
        faults.append(f"states ** (order + 1) is not in [4, {LARGEST_TABLE}]")
    if source.tokens < 1 or not 0 < source.spread < 100 or source.seed < 0:
        faults.append("tokens >= 1, 0 < spread < 100 and seed >= 0 are accepted")
    if faults:
        raise InputError([f"corpus = {corpus!r}: {fault}" for fault in faults])
    return source


def states_of_past(source: MarkovSource) -> int:
    """Return the number of pasts that determine the next state: rows of the table."""
    rows: int = source.states**source.order
    return rows


@lru_cache(maxsize=8)
def transitions(source: MarkovSource) -> Floats:
    """Return the probabilities of the next state, (states ** order, states).

    The row index is the last states in base ``states``.
    """
    shape = (states_of_past(source), source.states)
    logits = source.spread * np.random.default_rng([source.seed, 0]).standard_normal(shape)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@lru_cache(maxsize=8)
def stationary(source: MarkovSource) -> Floats:
    """Return the long-run distribution of the last ``order`` states, (states ** order,).

    Power iteration to a change below 1e-14; every row is positive, so the chain is primitive and it converges.
    """
    states, rest = source.states, source.states ** (source.order - 1)
    table = transitions(source).reshape(states, rest, states)
    now = np.full((states, rest), 1 / (states * rest))
    for _ in range(100_000):
        after = np.einsum("ab,abc->bc", now, table).reshape(states, rest)
        if np.abs(after - now).sum() < 1e-14:
            break
        now = after
    return np.asarray(after.ravel() / after.sum())


def entropy_rate(corpus: str) -> float:
    """Return the least loss of any model on this corpus, given all of the past: nats a token. Raise InputError."""
    source = parse(corpus)
    return float(stationary(source) @ _entropy(transitions(source)))


def attainable_loss(corpus: str, context: int) -> float:
    """Return the least mean loss over windows of ``context`` targets, the first of which have a shorter past.

    For order 1 this is the entropy rate. For order k the i-th target (i < k) has the entropy of a state given i
    before it.
    """
    source = parse(corpus)
    joint = (stationary(source)[:, None] * transitions(source)).reshape(-1)
    given = [_conditional_entropy(joint, source.states, past) for past in range(1, source.order)][:context]
    return (sum(given) + (context - len(given)) * entropy_rate(corpus)) / context


def _conditional_entropy(joint: Floats, states: int, past: int) -> float:
    """Return the entropy of a state given the ``past`` states before it, from a joint distribution of a longer run."""
    pairs = joint.reshape(-1, states**past, states).sum(axis=0)
    rows = pairs.sum(axis=1)
    return float(rows @ _entropy(pairs / rows[:, None]))


def _entropy(rows: Floats) -> Floats:
    entropy: Floats = -(rows * np.log(np.where(rows > 0, rows, 1.0))).sum(axis=1)
    return entropy


def open_markov(corpus: str) -> Corpus:
    """Draw the corpus of this name from chains that start in the stationary distribution.

    Training chains are independent. Each validation chain is as random, but they are drawn together to reduce the
    variance: their mean surprisal is within about 0.0005 nats of the entropy rate (a third of what independent chains
    give, measured), so that a law fitted to validation losses can be compared with it.
    """
    source = parse(corpus)
    training = _draw(source, -(-source.tokens // CHAIN), _independent, 1)
    held_out = _draw(source, VALIDATION_CHAINS, _stratified, 2)
    return Corpus(source.name, source.states, _stream(training), _stream(held_out))


def _stream(chains: npt.NDArray[np.integer]) -> TokenStream:
    return TokenStream(chains.reshape(-1), np.arange(len(chains), dtype=np.int64) * chains.shape[1], chains.shape[1])


Draw = Callable[[np.random.Generator, Indices], Floats]  # a number in [0, 1) for each chain, given its row


def _draw(source: MarkovSource, chains: int, draw: Draw, stream: int) -> npt.NDArray[np.integer]:
    """Draw (chains, CHAIN + 1) states. One sorted search serves all chains: row r of the table lies in (r, r + 1]."""
    rng = np.random.default_rng([source.seed, stream])
    states, rows = source.states, states_of_past(source)
    thresholds = (_cumulative(transitions(source)) + np.arange(rows)[:, None]).ravel()
    start = draw(rng, np.zeros(chains, dtype=np.int64))
    row = np.searchsorted(_cumulative(stationary(source)), start, side="right")
    tokens = np.empty((CHAIN + 1, chains), dtype=np.uint16 if states <= 2**16 else np.uint32)
    for step in range(CHAIN + 1):
        reached = np.searchsorted(thresholds, row + draw(rng, row), side="right") - row * states
        tokens[step] = np.minimum(reached, states - 1)  # row + 0.999… may round up to row + 1
        row = (row * states + tokens[step]) % rows
    return np.ascontiguousarray(tokens.T)


def _cumulative(probabilities: Floats) -> Floats:
    """Return running sums along the last axis, which end in exactly 1."""
    sums = np.cumsum(probabilities, axis=-1)
    sums[..., -1] = 1.0
    return sums


def _independent(rng: np.random.Generator, rows: Indices) -> Floats:
    return rng.random(len(rows))


def _stratified(rng: np.random.Generator, rows: Indices) -> Floats:
    """For the n chains in one row, draw n numbers 1/n apart from a random start, assigned in random order."""
    order = np.lexsort((rng.random(len(rows)), rows))
    in_order = rows[order]
    first = np.searchsorted(in_order, in_order, side="left")
    count = np.searchsorted(in_order, in_order, side="right") - first
    numbers = np.empty(len(rows))
    numbers[order] = (np.arange(len(rows)) - first + rng.random(in_order[-1] + 1)[in_order]) / count
    return numbers
