"""A registered forecast: what it said, from which runs, on which assumptions, by whom and when. It never changes.

Its digest is the SHA-256 of everything else in it. Anyone who kept the digest can verify the content.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sweeplaw.analysis.tables.display import Card, Shown
from sweeplaw.trials.quantities import percent, short

FOLDER = "forecasts"  # of a store
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ForecastTarget:
    """One run forecast. ``inputs`` are in the table's own units; ``bands`` hold the ends by level, for a new run.

    ``law_band`` is the 95 % band of the expected loss, ``beyond`` how far the run is beyond those known.
    """

    inputs: Mapping[str, float]
    median: float
    bands: Mapping[str, tuple[float, float]]
    law_band: tuple[float, float]
    beyond: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a forecast takes for granted, and the relative ``change`` of each median without it (None: not known)."""

    text: str
    change: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class LearntFrom:
    """The runs a forecast rests on: their number, an id for each (its trial, or a hash of its values), and a digest of
    all their values. ``marks`` are hashes of the measured values of each (`runs_behind`); earlier versions have none.
    """

    count: int
    ids: tuple[str, ...]
    digest: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class RegisteredForecast(Shown):
    """A forecast as it was registered. ``columns`` are the columns or expressions of the inputs and the loss.

    ``track_record`` are the scores of the same method on the budgets known by then. ``digest`` is empty before
    `sealed`; ``intact`` says whether it still matches the content. ``all_rows`` is true if the forecast was made from
    every row rather than from the best setting of each point, false for a file without it.
    """

    name: str
    registered_at: str
    registered_by: str
    source: str
    law: str
    params: Mapping[str, float]
    columns: Mapping[str, str]
    units: Mapping[str, float]
    where: str | None
    runs: LearntFrom
    targets: tuple[ForecastTarget, ...]
    assumptions: tuple[Assumption, ...]
    track_record: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]
    version: str
    all_rows: bool = False
    format: int = FORMAT
    digest: str = ""

    @property
    def intact(self) -> bool:
        """Whether the content is what the digest was made of."""
        return self.digest == digest_of(self.to_dict())

    def headline(self) -> tuple[str, ...]:
        """Return who registered what and when, and a line for each target."""
        runs = f"{self.runs.count} runs{', every row (--all-rows)' if self.all_rows else ''}"
        return (
            f"forecast {self.name}, registered {self.registered_at} by {self.registered_by} from {runs}",
            *map(_line, self.targets),
            f"rests on {track_record(self)}",
            f"digest {self.digest}",
            *self.warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as plain values, the content of its file."""
        names = [one.name for one in fields(self) if one.name != "all_rows" or self.all_rows]
        values = {name: _plain(getattr(self, name)) for name in names}
        if not self.runs.marks:
            del values["runs"]["marks"]
        return values

    def card(self) -> Card:
        """Return the targets as lines over a table of the assumptions."""
        heads = ("assumption", *(f"worth at {_point(target)}" for target in self.targets))
        rows = tuple(
            (one.text, *("not known" if change is None else percent(change, "+.2f") for change in one.change))
            for one in self.assumptions
        )
        return Card(self.headline(), heads, rows)


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content of a forecast, its digest left out, as 64 hex digits."""
    kept = {name: value for name, value in content.items() if name in _NAMES - {"digest"}}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def from_content(content: Mapping[str, Any]) -> RegisteredForecast:
    """Return the forecast in the content of a file. Raise what a missing value or a wrong type raises (`damage`)."""
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}; this sweeplaw reads {FORMAT}")
    values = {name: content[name] for name in _NAMES - {"all_rows"}}
    return RegisteredForecast(**{
        **values, "all_rows": bool(content.get("all_rows", False)),
        "runs": LearntFrom(
            int(content["runs"]["count"]), tuple(content["runs"]["ids"]), content["runs"]["digest"],
            tuple(map(str, content["runs"].get("marks", ()))),
        ),
        "targets": tuple(map(_target, content["targets"])),
        "assumptions": tuple(Assumption(one["text"], tuple(one["change"])) for one in content["assumptions"]),
        "track_record": tuple(dict(one) for one in content["track_record"]),
        "warnings": tuple(content["warnings"]),
        "columns": {str(name): str(text) for name, text in content["columns"].items()},
        "units": {str(name): float(unit) for name, unit in content["units"].items()},
    })  # fmt: skip


def track_record(forecast: RegisteredForecast) -> str:
    """Return how the method of a forecast did on the budgets known when it was registered, in one sentence."""
    cuts = [one for one in forecast.track_record if one.get("ahead")]
    if not cuts:
        return "a table too small to have a track record"
    runs = sum(int(one["ahead"]) for one in cuts)
    error, inside = (sum(float(one[name]) * int(one["ahead"]) for one in cuts) / runs for name in _SCORES)
    return (
        f"{len(cuts)} forecasts of later budgets from earlier ones ({runs} runs): mean error {percent(error, '.2f')}, "
        f"{percent(inside, '.0f')} in the 95 % band"
    )


def _target(content: Mapping[str, Any]) -> ForecastTarget:
    bands = {level: (float(low), float(high)) for level, (low, high) in content["bands"].items()}
    low, high = content["law_band"]
    inputs = {name: float(value) for name, value in content["inputs"].items()}
    if not all(math.isfinite(value) and value > 0 for value in inputs.values()) or "0.95" not in bands:
        raise ValueError("a target needs positive inputs and a 95 % band")
    return ForecastTarget(inputs, float(content["median"]), bands, (float(low), float(high)), dict(content["beyond"]))


def _plain(value: Any) -> Any:
    """Return a value for JSON as it is read back: dataclasses and mappings as dicts, tuples as lists."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _point(target: ForecastTarget) -> str:
    return ", ".join(f"{name} = {short(value)}" for name, value in target.inputs.items())


def _line(target: ForecastTarget) -> str:
    bands = ", ".join(f"{percent(float(level))} [{low:.4f}, {high:.4f}]" for level, (low, high) in target.bands.items())
    far = {name: factor for name, factor in target.beyond.items() if factor > 1}
    beyond = (
        f"; beyond the runs: {', '.join(f'{factor:.3g}x in {name}' for name, factor in far.items())}" if far else ""
    )
    return f"{_point(target)}: {target.median:.4f}, a new run {bands}{beyond}"


_SCORES = ("mean_abs_error", "coverage_95")
_NAMES = {one.name for one in fields(RegisteredForecast)}
