"""Token streams of an open corpus, their windows, and nested budgets of windows.

A window is ``context + 1`` tokens: the inputs, and the targets one position later. Neighbouring windows share one
token, the last target of the first and the first input of the second. Windows never cross from one piece of a stream
into the next, and validation pieces contain no training token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.corpus.shuffle import Indices, Shuffle
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

VALIDATION_SHARE = 0.05
VALIDATION_LIMIT = 2**24  # tokens; a larger validation set is no more informative
LONGEST_PIECE = 2**16  # tokens; longer documents are split before pieces are drawn for validation

Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Tokens in pieces of equal length; the array may be a memory map.

    Piece i is ``tokens[starts[i] : starts[i] + length]``.
    """

    tokens: Tokens
    starts: Indices
    length: int

    @classmethod
    def whole(cls, tokens: Tokens) -> TokenStream:
        """Return a stream of one piece."""
        return cls(tokens, np.zeros(1, dtype=np.int64), len(tokens))

    def windows(self, context: int) -> int:
        """Return the number of windows of this context."""
        return len(self.starts) * max(0, (self.length - 1) // context)

    def read(self, windows: Indices, context: int) -> npt.NDArray[np.int64]:
        """Return the tokens of these windows, (windows, context + 1)."""
        per_piece = (self.length - 1) // context
        begin = self.starts[windows // per_piece] + (windows % per_piece) * context
        positions = begin[:, None] + np.arange(context + 1)
        return np.asarray(self.tokens[positions], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class DataBudget:
    """The first ``size`` windows of a fixed shuffle of a stream: larger budgets contain smaller ones."""

    stream: TokenStream
    context: int
    size: int
    shuffle: Shuffle

    def read(self, positions: Indices) -> npt.NDArray[np.int64]:
        """Return the windows at these positions, each in [0, size): (positions, context + 1)."""
        return self.stream.read(self.shuffle(positions), self.context)


@dataclass(frozen=True, eq=False)
class Corpus:
    """An open corpus: its vocabulary size, and a training and a validation stream that share no token."""

    name: str
    vocabulary: int
    train: TokenStream
    validation: TokenStream

    def budget(self, context: int, unique_tokens: int) -> DataBudget:
        """Return ``unique_tokens`` of training text, rounded down to windows. Raise InputError if there are fewer."""
        return _budget(self.train, context, unique_tokens, f"unique_tokens = {unique_tokens}", self.name, "training")

    def held_out(self, context: int, tokens: int, request: str = "") -> DataBudget:
        """Return ``tokens`` of validation text, rounded down to windows. Raise InputError if there are fewer, which
        begins with the ``request``.
        """
        request = request or f"validation_tokens = {tokens}"
        return _budget(self.validation, context, tokens, request, self.name, "validation")


def _budget(stream: TokenStream, context: int, tokens: int, request: str, name: str, part: str) -> DataBudget:
    available = stream.windows(context)
    size = tokens // context
    if size > available:
        raise InputError(
            f"{request}: {name!r} has {available * context} {part} tokens in windows of context = {context}"
        )
    if size < 1:
        raise InputError(f"{request} is less than one window of context = {context}")
    return DataBudget(stream, context, size, Shuffle(available, f"{part} windows"))


def split_documents(documents: Sequence[Tokens], name: str = "the corpus") -> tuple[TokenStream, TokenStream]:
    """Split documents in memory into a training and a validation stream.

    Documents are cut into pieces of at most 65,536 tokens (a twentieth of a small corpus); pieces are drawn for
    validation in a fixed shuffle until they are 5 % of the tokens. Raise InputError if there is too little text.
    """
    total = sum(map(len, documents))
    longest = min(LONGEST_PIECE, max(1, total // 20))
    pieces = [document[i : i + longest] for document in documents for i in range(0, len(document), longest)]
    if len(pieces) < 2:
        raise InputError(f"{name} has {counted(total, 'token')}, too few to hold some out")
    held_out = _held_out(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)))
    validation = [piece for piece, held in zip(pieces, held_out, strict=True) if held]
    train = [piece for piece, held in zip(pieces, held_out, strict=True) if not held]
    return TokenStream.whole(np.concatenate(train)), TokenStream.whole(np.concatenate(validation))


def split_tokens(tokens: Tokens, name: str = "the corpus") -> tuple[TokenStream, TokenStream]:
    """Split one long array into a training and a validation stream without copying it.

    It is cut into 20 to 4,096 equal pieces (of about 262,144 tokens in between); 5 % of them, and at most 16.8 million
    tokens, are drawn for validation in a fixed shuffle. Raise InputError if there is too little text.
    """
    if len(tokens) < 40:
        raise InputError(f"{name} has {counted(len(tokens), 'token')}, too few to hold some out")
    count = min(4096, max(20, len(tokens) >> 18))
    length = len(tokens) // count
    starts = np.arange(count, dtype=np.int64) * length
    held_out = _held_out(np.full(count, length))
    return TokenStream(tokens, starts[~held_out], length), TokenStream(tokens, starts[held_out], length)


def _held_out(lengths: Indices) -> npt.NDArray[np.bool_]:
    """Return which pieces are for validation: the first of a fixed shuffle that reach the share, never all of them."""
    order = Shuffle(len(lengths), "validation split")(np.arange(len(lengths)))
    goal = min(VALIDATION_SHARE * lengths.sum(), VALIDATION_LIMIT)
    count = int(np.searchsorted(np.cumsum(lengths[order]), goal)) + 1
    held_out = np.zeros(len(lengths), dtype=bool)
    held_out[order[: min(count, len(lengths) - 1)]] = True
    return held_out
