"""Pages that a script makes: rewritten, or with ``--check`` compared."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(path: Path, text: str) -> int:
    """Write ``text`` to the page and return 0; with ``--check`` return whether the page is out of date."""
    if "--check" in sys.argv:
        return int(not path.exists() or path.read_text(encoding="utf-8") != text)
    path.write_text(text, encoding="utf-8")
    return 0
