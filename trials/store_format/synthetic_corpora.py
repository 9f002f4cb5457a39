"""Synthetic corpora that a store keeps: sampled sequences in `corpora/<id>.safetensors`.

The id is a digest of what made the text: the same teachers and options give the same id. One file holds the tokens,
(sequences, length), and in its metadata the recipe, what is known of the text, and a checksum; it is written whole or
not at all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.errors import DamagedDataError, InputError, shown
from sweeplaw.trials.store_format import tensor_files
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.store_format.tensor_files import SUFFIX

FOLDER = "corpora"
FORMAT = "sweeplaw synthetic corpus 1"  # incremented when this version could misread later files
ID_LENGTH = 20  # hex digits
TENSOR = "tokens"
DTYPES = {"U8": np.uint8, "U16": np.uint16, "I32": np.int32}  # by their names in the file
FACTS = {"tokens": int, "vocabulary": int, "tokenizer": str, "real_corpus": str, "flops": float, "seconds": float}
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")

Sequences = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class SyntheticText:
    """Sampled ``tokens``, (sequences, length), which may be a memory map.

    ``recipe`` is what made them, ``facts`` what else is known: tokens, vocabulary, tokenizer, FLOPs.
    """

    corpus_id: str
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    tokens: Sequences


def id_of(recipe: Mapping[str, Any]) -> str:
    """Return the id of the text that this recipe makes."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def dtype_of(vocabulary: int) -> type[np.integer[Any]]:
    """Return the smallest type that holds every token of a vocabulary."""
    return np.uint8 if vocabulary <= 2**8 else np.uint16 if vocabulary <= 2**16 else np.int32


def save(location: Location, recipe: Mapping[str, Any], facts: Mapping[str, Any], tokens: Sequences) -> str:
    """Write a text, which may be a memory map, and return its id. Raise OSError; there is then no such file."""
    corpus_id = id_of(recipe)
    known = json.dumps(facts, sort_keys=True)
    metadata = {
        "format": FORMAT,
        "recipe": json.dumps(recipe, sort_keys=True),
        "facts": known,
        "facts_checksum": str(zlib.crc32(known.encode())),
        "checksum": str(zlib.crc32(np.ascontiguousarray(tokens).data)),
    }
    dtype = next(name for name, kind in DTYPES.items() if kind == tokens.dtype)
    tensor_files.write_rows(location, _name(corpus_id), TENSOR, tokens, dtype, metadata)
    _load.cache_clear()  # it may replace a damaged one
    return corpus_id


def exists(location: Location, corpus_id: str) -> bool:
    """Return whether the store has this text, by the name of its file alone."""
    return location.exists(_name(corpus_id))


def load(store: str, corpus_id: str) -> SyntheticText:
    """Return a text of the store at a path or URI; the two latest are remembered.

    Raise InputError if there is none, or if the file is damaged, a link, or of a later version.
    """
    if not _ID.fullmatch(corpus_id):
        raise InputError(f"synthetic corpus {shown(corpus_id)}: accepted are {ID_LENGTH} hex digits, its id")
    return _load(store, corpus_id)


def facts_of(location: Location, corpus_id: str) -> dict[str, Any]:
    """Return what is known of a text whose file is whole, which is read for that.

    Raise DamagedDataError if it is not; InputError if it is of a later version.
    """
    return dict(_read(location, corpus_id).facts)


def corpus_name(corpus_id: str, facts: Mapping[str, Any]) -> str:
    """Return the name of a text in a sweep file: with its vocabulary where the teachers' corpus was tokens already."""
    return f"synthetic:{corpus_id}" + (f"?vocab={facts['vocabulary']}" if facts["tokenizer"] == "none" else "")


def texts(location: Location) -> dict[str, frozenset[str]]:
    """Return the trials that wrote each text of a store, by its name. Raise InputError for a damaged text."""
    found = {}
    for corpus_id in location.names(FOLDER, SUFFIX):
        with _at(location, corpus_id) as file:
            known = _header(corpus_id, file)[0]
        trials = frozenset(re.split("[:@]", teacher)[0] for teacher in known["recipe"]["teachers"])
        found[corpus_name(corpus_id, known["facts"])] = trials
    return found


def _name(corpus_id: str) -> str:
    return f"{FOLDER}/{corpus_id}{SUFFIX}"


@functools.lru_cache(maxsize=2)
def _load(store: str, corpus_id: str) -> SyntheticText:
    return _read(locate(store), corpus_id)


def _read(location: Location, corpus_id: str) -> SyntheticText:
    """Return a text whose file is whole. Raise InputError."""
    with _at(location, corpus_id) as file:
        metadata, dtype, shape, begin = _header(corpus_id, file)
        try:
            tokens = np.memmap(
                file, dtype, "r", begin, shape
            )  # it stays mapped when the file is closed, or a copy gone
        except (OSError, ValueError, ArithmeticError) as error:
            raise DamagedDataError(f"synthetic corpus {corpus_id} is damaged: {error}") from None
    if zlib.crc32(tokens.data) != metadata["checksum"]:
        raise DamagedDataError(f"synthetic corpus {corpus_id} is damaged: its checksum differs (sample it again)")
    low, high, vocabulary = int(tokens.min()), int(tokens.max()), metadata["facts"]["vocabulary"]
    if not 0 <= low <= high < vocabulary:
        raise DamagedDataError(f"synthetic corpus {corpus_id} is damaged: tokens {low} to {high} of {vocabulary}")
    return SyntheticText(corpus_id, metadata["recipe"], metadata["facts"], tokens)


def _at(location: Location, corpus_id: str) -> Any:
    if not location.exists(_name(corpus_id)):
        raise InputError(
            f"{location.uri} has no synthetic corpus {corpus_id} "
            f"(accepted: {', '.join(location.names(FOLDER, SUFFIX)) or 'none there yet; sweeplaw sample makes one'})"
        )
    return tensor_files.opened(location, _name(corpus_id))


def _header(corpus_id: str, file: BinaryIO) -> tuple[dict[str, Any], type[Any], tuple[int, int], int]:
    """Return the metadata, and type, shape and first byte of the tokens. Raise InputError."""
    try:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, 2**24)))
        metadata = header["__metadata__"]
        if (seen := metadata.get("format")) != FORMAT:
            kind = InputError if tensor_files.is_version_of(FORMAT, seen) else DamagedDataError
            raise kind(f"synthetic corpus {corpus_id} has the format {shown(seen)} (accepted: {FORMAT!r})")
        tensor = header[TENSOR]
        sequences, size = tensor["shape"]
        known: dict[str, Any] = {
            "recipe": _recipe(metadata),
            "facts": _facts(metadata),
            "checksum": int(metadata["checksum"]),
        }
        found = known, DTYPES[tensor["dtype"]], (int(sequences), int(size)), 8 + length + int(tensor["data_offsets"][0])
        if not size > 1 <= sequences:
            raise ValueError(f"{sequences} sequences of {size} tokens")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedDataError(f"synthetic corpus {corpus_id} is damaged: {error!r}") from None
    if id_of(known["recipe"]) != corpus_id:
        raise DamagedDataError(f"synthetic corpus {corpus_id} is damaged: it has the recipe of another")
    return found


def _recipe(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what made a text. Raise ValueError, TypeError or KeyError if it names no teachers."""
    recipe = dict(json.loads(metadata["recipe"]))
    if not (isinstance(recipe["teachers"], list) and all(isinstance(name, str) for name in recipe["teachers"])):
        raise TypeError(f"teachers = {shown(recipe['teachers'])}")
    return recipe


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a text. Raise ValueError or TypeError if it is not what was written, or lacks a fact."""
    text = metadata["facts"]
    crc = zlib.crc32(text.encode())
    if int(metadata.get("facts_checksum", crc)) != crc:
        raise ValueError("its facts differ from their checksum")
    facts = dict(json.loads(text))
    for name, kind in FACTS.items():
        if type(facts.get(name)) is not kind:
            raise TypeError(f"{name} = {shown(facts.get(name))}")
    return facts
