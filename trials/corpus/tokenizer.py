"""Tokenization of documents: raw bytes, or a `tokenizers` JSON file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sweeplaw.trials.corpus.names import BYTES, NO_TOKENIZER
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
    tokenizer, end = _load(path)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    remaining = iter(documents)
    while texts := [text.decode(errors="replace") for text in itertools.islice(remaining, ENCODED_AT_ONCE)]:
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield np.array(encoding.ids + end, dtype=dtype)


def encode_texts(texts: Sequence[str], tokenizer: str) -> tuple[list[list[int]], list[int]]:
    """Return the token ids of each text, and the end token (none if the tokenizer has none). Raise InputError."""
    if tokenizer == BYTES:
        return [list(text.encode(errors="surrogatepass")) for text in texts], [0]
    if tokenizer == NO_TOKENIZER:
        raise InputError(
            "tokenizer = 'none': text cannot be read by a model of tokens (accepted: bytes, or a JSON file)"
        )
    loaded, end = _load(tokenizer)
    return [encoding.ids for encoding in loaded.encode_batch_fast(list(texts), add_special_tokens=False)], end


def decode_tokens(tokens: Sequence[int], tokenizer: str) -> str:
    """Return the text of these token ids. Raise InputError."""
    if tokenizer == BYTES:
        return bytes(tokens).decode(errors="replace")
    return str(_load(tokenizer)[0].decode(list(tokens), skip_special_tokens=False))


def _load(path: str) -> tuple[Any, list[int]]:
    """Return the tokenizer of this file, and its end token as a list of at most one. Raise InputError."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(
            f"tokenizer = {path!r} needs the package tokenizers (pip install 'sweeplaw[tokenizers]')"
        ) from error
    tokenizer = Tokenizer.from_file(path)
    ends = (tokenizer.token_to_id(token) for token in END_TOKENS)
    return tokenizer, next(([token] for token in ends if token is not None), [])
