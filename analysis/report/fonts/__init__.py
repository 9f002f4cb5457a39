"""The typeface of pages: subsets of Inter with the licence that they stand under, embedded in each page.

No page fetches anything. The subsets have Latin and Greek letters, figures of one width and the signs that pages use.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path

WEIGHTS = (400, 600)


@cache
def embedded() -> Mapping[int, str]:
    """Return the WOFF2 file of each weight in Base64."""
    folder = Path(__file__).parent
    return {weight: base64.b64encode((folder / f"inter-{weight}.woff2").read_bytes()).decode() for weight in WEIGHTS}
