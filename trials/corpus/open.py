"""Opening a corpus by its name. One process opens a corpus once and shares it between its trials."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np

from trials.corpus import documents
from trials.corpus.markov import open_markov
from trials.corpus.names import BYTES, Name, canonical, canonical_tokenizer, parse, vocabulary
from trials.corpus.streams import Corpus, split_documents
from trials.errors import InputError

SEPARATOR = b"\0"  # after each document of a byte corpus; text has no zero byte


def open_corpus(corpus: str, tokenizer: str) -> Corpus:
    """The corpus of this name. Raises InputError when it cannot be read here, or is not the text the name says."""
    name = canonical(corpus)
    return _open(name, canonical_tokenizer(name, tokenizer))


@lru_cache(maxsize=2)
def _open(corpus: str, tokenizer: str) -> Corpus:
    name = parse(corpus)
    if name.kind == "markov":
        return open_markov(corpus)
    texts = READERS[name.kind](name)
    if tokenizer != BYTES:
        raise NotImplementedError(tokenizer)
    tokens = [np.frombuffer(text + SEPARATOR, dtype=np.uint8) for text in texts]
    try:
        train, validation = split_documents(tokens)
    except InputError as error:
        raise InputError(error.faults, where=f"corpus = {corpus!r}") from error
    return Corpus(corpus, vocabulary(corpus, tokenizer), train, validation)


def _stdlib(name: Name) -> Iterable[bytes]:
    running = platform.python_version()
    if name.path != running:
        raise InputError(
            f"corpus = 'stdlib:{name.path}' is the source text of Python {name.path}, but this worker runs {running}"
            f" (run every worker on Python {name.path}, or write corpus = 'stdlib' to use each launch's own)"
        )
    return documents.stdlib()


READERS: dict[str, Callable[[Name], Iterable[bytes]]] = {"stdlib": _stdlib}
