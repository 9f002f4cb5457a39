"""Templates with `{placeholders}` for arguments, environment values and folders. Literal braces are written `{{ }}`.

A placeholder is the name of a value, with an optional format after a colon (`{lr:.3e}`). The rest of Python's format
language is rejected: attributes, indices and conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from sweeplaw.trials.errors import nearest

_FORMATTER = Formatter()


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders in a valid ``text``."""
    return {name for _, name, _, _ in _FORMATTER.parse(text) if name is not None}


def faults(where: str, text: Any, accepted: Iterable[str]) -> list[str]:
    """Return the faults of ``text`` as a template with the accepted names."""
    if not isinstance(text, str):
        return [f"{where} = {text!r} is not text"]
    if "\0" in text:
        return [f"{where} = {text!r} holds a NUL character"]
    try:
        parts = [(name, form, conversion) for _, name, form, conversion in _FORMATTER.parse(text) if name is not None]
    except ValueError as error:
        return [f"{where} = {text!r}: {error} (a literal brace is written twice)"]
    names = sorted(accepted)
    found = [
        f"{where} = {text!r}: {{{name}}} is not known (accepted: {', '.join(names)}){nearest(name, names)}"
        for name, _, _ in parts
        if name not in names
    ]
    odd = [name for name, form, conversion in parts if conversion or "{" in (form or "")]
    return found + [f"{where} = {text!r}: {{{name}}} takes a plain format only, such as {{{name}:.3e}}" for name in odd]


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Replace the placeholders of ``text``; booleans are written in lower case. Raise ValueError."""
    return "".join(
        literal if name is None else literal + _formatted(values[name], form or "")
        for literal, name, form, _ in _FORMATTER.parse(text)
    )


def _formatted(value: Any, form: str) -> str:
    if isinstance(value, bool) and not form:
        return str(value).lower()
    return format(value, form)
