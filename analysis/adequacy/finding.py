"""One finding about a law: what was tested, what came of it, and a sentence for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["passed", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A test of a law with its verdict, a sentence without its full stop, and the numbers behind it."""

    test: str
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return {"test": self.test, "verdict": self.verdict, "sentence": self.sentence, **self.numbers}
