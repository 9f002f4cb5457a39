"""The phenomena of the gallery: a claim, its source, the sweep and the command that test it, and what decides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPRODUCED, PARTLY, NOT_HERE, REFUTED = "reproduced", "partly", "not at this scale", "refuted"
Numbers = dict[str, float | str]
Found = tuple[Numbers, str]


@dataclass(frozen=True, slots=True)
class Phenomenon:
    """One claim. ``arguments`` are those of the command that answers it, STORE among them; ``pictures`` are cards of
    the report made with the further options ``report``; ``remark`` is what else the numbers say.
    """

    name: str
    claim: str
    source: str
    sweep: str
    arguments: tuple[str, ...]
    decide: Callable[[Any], Found]
    pictures: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    remark: str = ""

    @property
    def command(self) -> str:
        """The command as one types it."""
        return " ".join(["sweeplaw", *(_quoted(word) for word in self.arguments)])

    def answer(self, store: Path) -> Any:
        """Return what the command answers about the store."""
        words = [str(store) if word == "STORE" else word for word in self.arguments]
        return json.loads(sweeplaw(*words, "--json"))


@dataclass(frozen=True, slots=True)
class GalleryPage:
    """A page of phenomena of one system."""

    name: str
    title: str
    about: str
    phenomena: Sequence[Phenomenon]
    small: Mapping[str, str] = field(default_factory=dict)


def sweeplaw(*arguments: str) -> str:
    """Run a command; return its output. Raise SystemExit with its exit code, its message on stderr, if it fails."""
    done = subprocess.run([sys.executable, "-m", "sweeplaw", *arguments], stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
