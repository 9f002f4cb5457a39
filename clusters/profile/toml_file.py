"""TOML files that people write, read within bounds so that no mistake in one exhausts the machine; values as TOML.

TOML's own bounds hold for sweep files, profiles and mappings alike: whole numbers of 64 bits, text without NUL. Beyond
them: `LONGEST` characters in a file, `DEEPEST` levels of tables and arrays, names of printable characters, of which no
two in a table look the same.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeplaw.trials.errors import InputError, shown

LONGEST = 2**20
DEEPEST = 32
LONGEST_NAME = 512
MOST_FAULTS = 20  # in one message
_NAME = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_TOO_DEEP = re.compile(rf"(?<![\w.-])(?:{_NAME}\.[ \t]*+){{{DEEPEST}}}")  # a.b.c…


def read(path: Path, *, where: str) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and its content. Raise InputError, its message beginning with ``where``."""
    try:
        if _blocks(path):
            raise OSError("it is not a regular file")
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=where) from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text: {error}", where=where) from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"cannot be read: {error}", where=where) from None
    return text, parse(text, where=where)


def _blocks(path: Path) -> bool:
    """Return whether this is a pipe, whose writer may never come, and not a descriptor such as /dev/stdin.

    Raise OSError, ValueError.
    """
    handed_over = str(path) == "/dev/stdin" or str(path).startswith(("/dev/fd/", "/proc/self/fd/"))
    return not handed_over and stat.S_ISFIFO(path.stat().st_mode)


def parse(text: str, *, where: str = "") -> dict[str, Any]:
    """Return the content of this TOML text. Raise InputError with every fault, its message beginning with ``where``."""
    if len(text) > LONGEST:
        raise InputError(f"is longer than {LONGEST:,} characters", where=where)
    if _TOO_DEEP.search(text):  # in which tomllib's time is quadratic
        raise InputError(f"nested too deeply (accepted: {DEEPEST} levels)", where=where)
    try:
        content = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"nested too deeply (accepted: {DEEPEST} levels)", where=where) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not valid TOML: {error}", where=where) from None
    except ValueError:
        raise InputError("not valid TOML: a whole number of thousands of digits", where=where) from None
    faults = [fault for fault, _ in zip(_faults(content), range(MOST_FAULTS), strict=False)]
    if faults:
        raise InputError(faults, where=where)
    return content


def _faults(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of names and values at any depth."""
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, dict | list) and depth >= DEEPEST:
            yield f"{path}: nested too deeply (accepted: {DEEPEST} levels)"
        elif isinstance(value, dict):
            yield from _name_faults(path, value)
            waiting += [(f"{path}.{name}" if path else name, part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}[{index}]", part, depth + 1) for index, part in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield f"{path}: a whole number of {value.bit_length()} bits (accepted: 64 bits with the sign)"
        elif isinstance(value, str) and "\0" in value:
            yield f"{path}: {shown(value)} holds a NUL character"


def _name_faults(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name in table:
        where = f"{path}: " if path else ""
        if len(name) > LONGEST_NAME:
            yield f"{where}a name of {len(name):,} characters (accepted: at most {LONGEST_NAME})"
        elif not name.isprintable():
            yield f"{where}the name {shown(name)} holds a character that cannot be printed"
        elif (twin := seen.setdefault(unicodedata.normalize("NFKC", name), name)) != name:
            yield f"{where}the names {twin!a} and {name!a} look the same"


def text_of(value: Any) -> str:
    """Return a value as TOML: text, numbers, truth values, arrays, and tables in one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key(name)} = {text_of(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def key(name: str) -> str:
    """Return a name as a key in TOML, quoted where it has to be."""
    return name if name.isascii() and name.isidentifier() else text_of(name)
