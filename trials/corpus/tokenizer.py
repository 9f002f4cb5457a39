"""Tokenization of documents: raw bytes, or a `tokenizers` JSON file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from sweeplaw.trials.corpus.streams import Tokens
from sweeplaw.trials.errors import InputError

BYTE_SEPARATOR = b"\0"  # after each document; text has no zero byte
# Names of the token between documents; the first that a tokenizer has is used.
END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
ENCODED_AT_ONCE = 1024  # documents


def byte_tokens(documents: Iterable[bytes]) -> Iterator[Tokens]:
    """Yield each document's bytes and a zero byte."""
    return (np.frombuffer(document + BYTE_SEPARATOR, dtype=np.uint8) for document in documents)


def encode(documents: Iterable[bytes], path: str) -> Iterator[Tokens]:
    """Yield each document's token ids, and the end token if the tokenizer has one. Raise InputError."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(
            f"tokenizer = {path!r} needs the package tokenizers (pip install 'sweeplaw[tokenizers]')"
        ) from error
    tokenizer = Tokenizer.from_file(path)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    ends = (tokenizer.token_to_id(token) for token in END_TOKENS)
    end = next(([token] for token in ends if token is not None), [])
    remaining = iter(documents)
    while texts := [text.decode(errors="replace") for text in itertools.islice(remaining, ENCODED_AT_ONCE)]:
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield np.array(encoding.ids + end, dtype=dtype)
