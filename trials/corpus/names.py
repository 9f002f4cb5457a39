"""Corpus names: their kinds, canonical form and vocabulary size."""

from __future__ import annotations

import glob
import json
import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sweeplaw.trials.corpus import markov
from sweeplaw.trials.errors import InputError, nearest

KINDS = ("stdlib", "text", "parquet", "tokens", "hf", "markov", "synthetic")
TEXT_KINDS = ("stdlib", "text", "parquet", "hf")  # kinds that need a tokenizer
SYNTHETIC = "synthetic"  # sampled from trained models, kept in a store: synthetic:ID
BYTES = "bytes"
NO_TOKENIZER = "none"  # the tokenizer knob of corpora that are tokens already

_OPTIONS: dict[str, tuple[str, ...]] = {
    "parquet": ("column",),
    "tokens": ("dtype", "vocab"),
    "hf": ("column", "config", "split"),
    "synthetic": ("vocab",),
}


@dataclass(frozen=True, slots=True)
class Name:
    """A parsed corpus name: ``kind:path?option=value&…``."""

    kind: str
    path: str
    options: dict[str, str]


def parse(corpus: str) -> Name:
    """Parse a corpus name. Raise InputError if the kind or an option is unknown."""
    kind, _, rest = corpus.partition(":")
    if kind not in KINDS:
        texts = "stdlib, text:GLOB, parquet:GLOB?column=NAME, tokens:PATH?vocab=N, hf:NAME"
        accepted = f"{texts}, markov:states=N, synthetic:ID"
        raise InputError(f"corpus = {corpus!r} is not known (accepted: {accepted}){nearest(kind, KINDS)}")
    path, mark, query = rest.rpartition("?")
    if not mark or "=" not in query or kind not in _OPTIONS:
        path, query = rest, ""
    if not path and kind not in ("stdlib", "markov"):
        what = {"hf": "data set", SYNTHETIC: "text"}.get(kind, "file")
        raise InputError(f"corpus = {corpus!r} names no {what} after {kind + ':'!r}")
    options = dict(item.partition("=")[::2] for item in query.split("&") if item)
    known = _OPTIONS.get(kind, ())
    faults = [
        f"corpus = {corpus!r}: {option!r} is no option of {kind} (accepted: {', '.join(known)}){nearest(option, known)}"
        for option in options
        if option not in known
    ]
    if faults:
        raise InputError(faults)
    return Name(kind, path, options)


def canonical(corpus: str, folder: Path | None = None) -> str:
    """Return the canonical name: explicit versions and defaults, sorted options, absolute paths.

    Relative paths start at ``folder`` or the working directory. Raise InputError.
    """
    name = parse(corpus)
    if name.kind == "stdlib":
        return f"stdlib:{name.path or platform.python_version()}"
    if name.kind == "markov":
        return markov.parse(corpus).name
    if name.kind == "tokens":
        _tokens_vocabulary(corpus, name.options)
        options = {"dtype": "uint16", **name.options}
    elif name.kind in ("parquet", "hf"):
        options = {"column": "text", **({"split": "train"} if name.kind == "hf" else {}), **name.options}
    elif name.kind == SYNTHETIC:
        if "vocab" in name.options:
            _tokens_vocabulary(corpus, {"dtype": "uint32", **name.options})
        options = name.options
    else:
        options = {}
    path = name.path if name.kind in ("hf", SYNTHETIC) else absolute(name.path, folder)
    query = "&".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"{name.kind}:{path}?{query}" if query else f"{name.kind}:{path}"


def absent(corpus: str) -> str | None:
    """Return a sentence if the files of a corpus are not on this machine, None if they are or it has none.

    Looks for names alone: reads no file, and asks no server.
    """
    name = parse(corpus)
    if name.kind == "tokens":
        found = os.path.exists(name.path)
    elif name.kind in ("text", "parquet"):
        found = any(True for _ in glob.iglob(name.path, recursive=True))
    else:
        return None
    return None if found else f"corpus = {corpus!r} is not on this machine"


def absolute(path: str, folder: Path | None) -> str:
    """Return the absolute form of ``path`` from ``folder``, with ~ expanded; links are not followed."""
    try:
        return os.path.abspath(Path(folder or Path.cwd(), Path(path).expanduser()))
    except RuntimeError as error:  # ~name of a user that does not exist
        raise InputError(f"path {path!r}: {error}") from None


def canonical_tokenizer(corpus: str, tokenizer: str, folder: Path | None = None) -> str:
    """Return the canonical tokenizer for a corpus: ``none`` if it is tokens already. Raise InputError.

    That of a synthetic corpus is the tokenizer of its teachers; with a ``vocab`` it is tokens already, as theirs was.
    """
    name = parse(corpus)
    if name.kind in TEXT_KINDS or (name.kind == SYNTHETIC and "vocab" not in name.options):
        if tokenizer == NO_TOKENIZER:
            raise InputError(f"tokenizer = {tokenizer!r}: {corpus!r} is text (accepted: 'bytes' or a tokenizer.json)")
        return tokenizer if tokenizer == BYTES else absolute(tokenizer, folder)
    if tokenizer not in (BYTES, NO_TOKENIZER):
        raise InputError(f"tokenizer = {tokenizer!r}: {corpus!r} is tokens already (accepted: leave it out)")
    return NO_TOKENIZER


def vocabulary(corpus: str, tokenizer: str) -> int:
    """Return the vocabulary size. Reads the tokenizer file, never the corpus. Raise InputError."""
    name = parse(corpus)
    if name.kind == "markov":
        return markov.parse(corpus).states
    if name.kind == "tokens":
        return _tokens_vocabulary(corpus, name.options)
    if name.kind == SYNTHETIC and "vocab" in name.options:
        return _tokens_vocabulary(corpus, {"dtype": "uint32", **name.options})
    return 256 if tokenizer == BYTES else _tokenizer_vocabulary(tokenizer)


def _tokens_vocabulary(corpus: str, options: dict[str, str]) -> int:
    dtype, vocab = options.get("dtype", "uint16"), options.get("vocab", "")
    if dtype not in ("uint16", "uint32"):
        raise InputError(f"corpus = {corpus!r}: dtype = {dtype!r} (accepted: uint16, uint32)")
    most = 2 ** int(dtype.removeprefix("uint"))
    if not vocab.isdecimal() or len(vocab) > len(str(most)) or not 1 < int(vocab) <= most:
        raise InputError(f"corpus = {corpus!r}: vocab = {vocab!r} (accepted: ?vocab=N with N from 2 to {most})")
    return int(vocab)


@lru_cache(maxsize=16)
def _tokenizer_vocabulary(path: str) -> int:
    """Return one more than the largest token id of a `tokenizers` JSON file. Nothing but a regular file is opened."""
    if not os.path.isfile(path):
        seen = "is no regular file" if os.path.lexists(path) else "does not exist"
        raise InputError(f"tokenizer = {path!r} {seen} (accepted: a tokenizers JSON file)")
    try:
        content = json.loads(Path(path).read_text())
        entries = content["model"]["vocab"]
        ids = list(entries.values()) if isinstance(entries, dict) else list(range(len(entries)))
        return 1 + max(ids + [token["id"] for token in content.get("added_tokens", [])])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"tokenizer = {path!r} is no tokenizers JSON file ({error!r})") from error
