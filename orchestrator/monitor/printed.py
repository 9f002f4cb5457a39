"""Text that cannot control the terminal: what a trial printed, and whatever a store holds."""

from __future__ import annotations

import re

_SEQUENCES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")  # colours, titles, cursor
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNSAFE = re.compile(rf"\x1b(?!\[[0-9;]*m)|(?![\x1b]){_CONTROL.pattern}")  # all but colours


def readable(output: bytes) -> str:
    """Return the output as text, ending in a newline if there is any.

    Of what a progress bar has drawn over, the last state remains; escape sequences are dropped and other control
    characters shown as ``\\xNN``.
    """
    text = _SEQUENCES.sub("", output.decode(errors="replace").replace("\r\n", "\n"))
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.removesuffix("\n").split("\n"))
    shown = "\n".join(_CONTROL.sub(_named, line) for line in lines)
    return f"{shown}\n" if text else ""


def harmless(text: str) -> str:
    """Return the text with control characters shown as ``\\xNN``; colours remain."""
    return _UNSAFE.sub(_named, text)


def _named(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
