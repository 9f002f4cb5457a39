"""Opening a corpus by name, cached so that the trials of a process share it."""

from __future__ import annotations

import glob
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from sweeplaw.trials.corpus.documents import READERS
from sweeplaw.trials.corpus.markov import open_markov
from sweeplaw.trials.corpus.names import BYTES, SYNTHETIC, Name, canonical, canonical_tokenizer, parse, vocabulary
from sweeplaw.trials.corpus.streams import Corpus, split_documents, split_tokens
from sweeplaw.trials.corpus.tokenizer import byte_tokens, encode
from sweeplaw.trials.errors import InputError

QUICK_BYTES = {"text": 2**23, "parquet": 2**20, "tokens": 2**26}  # of the files of a corpus that opens within a second
CHECKED_TOKENS = 2**20  # of a memory map, against the vocabulary: a larger id would crash a GPU process


def open_corpus(corpus: str, tokenizer: str) -> Corpus:
    """Open the corpus of this name. Raise InputError if it cannot be read or is not the text of that name.

    A synthetic corpus is in a store: `trials.sampling.corpora` opens it.
    """
    name = canonical(corpus)
    if parse(name).kind == SYNTHETIC:
        raise InputError(f"corpus = {corpus!r} is in a store (accepted: workload = {{ kind, store }} names the store)")
    return _open(name, canonical_tokenizer(name, tokenizer))


def opens_quickly(corpus: str) -> bool:
    """Return whether the corpus of this name is at hand and small enough to be opened only to count its tokens."""
    name = parse(canonical(corpus))
    if name.kind not in QUICK_BYTES:
        return name.kind == "stdlib"
    sizes = (os.path.getsize(path) for path in glob.iglob(name.path, recursive=True) if os.path.isfile(path))
    return 0 < sum(sizes) <= QUICK_BYTES[name.kind]


@lru_cache(maxsize=2)
def _open(corpus: str, tokenizer: str) -> Corpus:
    name = parse(corpus)
    if name.kind == "markov":
        return open_markov(corpus)
    size = vocabulary(corpus, tokenizer)
    try:
        if name.kind == "tokens":
            train, validation = split_tokens(_memory_map(name, size), f"corpus = {corpus!r}")
        else:
            documents = READERS[name.kind](name)
            tokens = byte_tokens(documents) if tokenizer == BYTES else encode(documents, tokenizer)
            train, validation = split_documents(list(tokens), f"corpus = {corpus!r}")
    except OSError as error:
        raise InputError(f"corpus = {corpus!r} cannot be read: {error}") from error
    return Corpus(corpus, size, train, validation)


def _memory_map(name: Name, size: int) -> np.memmap[tuple[int], np.dtype[np.unsignedinteger]]:
    path, dtype = Path(name.path), np.dtype(name.options["dtype"])
    if path.stat().st_size % dtype.itemsize or not path.stat().st_size:
        raise InputError(f"corpus = 'tokens:{path}': {path.stat().st_size} bytes are no whole number of {dtype} tokens")
    tokens = np.memmap(path, dtype=dtype, mode="r")
    largest = int(tokens[:: max(1, len(tokens) // CHECKED_TOKENS)].max())
    if largest >= size:
        raise InputError(
            f"corpus = 'tokens:{path}' has token {largest}, but vocab = {size} (accepted: above {largest})"
        )
    return tokens
