"""What a trial printed, as text that cannot control the terminal."""

from __future__ import annotations

import re

_SEQUENCES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")  # colours, titles, cursor
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def readable(output: bytes) -> str:
    """Return the output as text, ending in a newline if there is any.

    Of what a progress bar has drawn over, the last state remains; escape sequences are dropped and other control
    characters shown as ``\\xNN``.
    """
    text = _SEQUENCES.sub("", output.decode(errors="replace").replace("\r\n", "\n"))
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.removesuffix("\n").split("\n"))
    shown = "\n".join(_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line) for line in lines)
    return f"{shown}\n" if text else ""
