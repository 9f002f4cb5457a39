"""Conversion of mapped columns to rows of the trials table, with reasons for each rejected row."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.sql.expressions import ALIASES
from sweeplaw.orchestrator.importing.histories import STEP_COLUMNS, Histories, merge
from sweeplaw.orchestrator.importing.identity import WORKLOAD, earlier_identity, identity
from sweeplaw.orchestrator.importing.mapping import STATES, ColumnMapping, expression, resolve
from sweeplaw.orchestrator.importing.readers import DECIMAL_COMMA
from sweeplaw.orchestrator.importing.values import mostly_numbers, numbers_of, simple_of, times_of
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import TRIAL_COLUMNS

_CHUNK = 10_000  # rows converted to objects at a time
_THOUSANDS = r"^\s*\d{1,3}(\.\d{3})+\s*$"
_EXACT = 1e-9  # relative: what arithmetic with a suffix may be off
_COMMA = "decimal commas are read where semicolons separate the columns"
ROW, _RUN = "\0row", "\0run"  # no column of a source has these names
_SHOWN = 80  # characters of a value in a reason
_FORMULA = re.compile(r"[-+*/%<=>]")
_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_TYPES = {column.name: column.type for column in TRIAL_COLUMNS}
_EARLIER = {f"their_{alias}": alias for alias in ALIASES}  # the names that version 0.1 kept
_COUNTS = tuple(c.name for c in TRIAL_COLUMNS if c.unit in ("parameters", "tokens", "steps", "sequences", "FLOPs", "s"))


@dataclass(frozen=True, slots=True)
class Mapped:
    """``frame`` has our columns and `ROW` (1 is the first of the file), ``theirs`` the source columns behind them.
    ``reasons`` maps a row to why it is rejected, ``used`` our columns to their source; ``left_out`` is the number of
    rows excluded by the mapping's condition. ``histories`` are the runs made of several rows."""

    frame: pl.DataFrame
    theirs: pl.DataFrame
    reasons: Mapping[int, list[str]]
    used: Mapping[str, str]
    left_out: int
    histories: Histories

    @property
    def rows(self) -> int:
        """Number of rows of the file that the condition holds for."""
        return self.frame.height + self.histories.merged


def map_rows(
    theirs: pl.DataFrame, mapping: ColumnMapping, *, cells: pl.DataFrame | None = None, merges: bool = False
) -> Mapped:
    """Return the source rows under our names and types. Raise InputError for missing columns.

    ``cells`` as in `ImportSource`. ``merges``: several rows of one run are its history.
    """
    used = resolve(mapping, theirs.columns)
    reasons: dict[int, list[str]] = {}
    height, numeric = theirs.height, frozenset(column.name for column in theirs if mostly_numbers(column))
    number = pl.int_range(1, height + 1, dtype=pl.Int64, eager=True).alias(ROW)
    if mapping.where:
        holds = _evaluated("where", mapping.where, theirs, numeric, number, reasons)
        if holds.dtype != pl.Boolean:
            raise InputError(f"where: {mapping.where!r} is not a condition; its type is {holds.dtype}")
        included = holds.fill_null(False) | number.is_in(list(reasons))
        theirs, number = theirs.filter(included), number.filter(included)
    columns = []
    for name, text in used.items():
        values = _evaluated(name, text, theirs, numeric, number, reasons)
        if not mapping.rounds and text in theirs.columns and _TYPES.get(name) == "int":
            _check_whole(values, number, None if cells is None else cells[text][number - 1], reasons)
        columns.append(_typed(values, number, reasons))
    run = [theirs[name].cast(pl.String).alias(f"{_RUN}{index}") for index, name in enumerate(mapping.run)]
    typed = pl.DataFrame([number, *columns, *run])
    step = _steps(theirs, typed, reasons) if merges else None
    histories = merge(typed, ROW, [column.name for column in run] if merges else (), step, reasons)
    frame = _checked(histories.frame, mapping.run, reasons)
    roots = theirs.select(_roots(used, mapping.run, theirs))[number.search_sorted(frame[ROW])]
    return Mapped(frame, roots, reasons, used, height - typed.height, histories)


def _steps(theirs: pl.DataFrame, typed: pl.DataFrame, reasons: dict[int, list[str]]) -> pl.Series | None:
    """Return the step of each row, from our column `step` or else theirs; None without one."""
    name = next((name for name in STEP_COLUMNS if name in theirs.columns), None)
    if "step" not in typed.columns and name is None:
        return None
    series = typed["step"] if "step" in typed.columns else theirs[name or ""]
    steps = numbers_of(series)
    whole = (steps == steps.round()) & (steps.abs() < 2.0**63)
    _reject(series, typed[ROW], series.is_not_null() & ~whole.fill_null(False), "is not a whole number", reasons)
    return steps.set(~whole.fill_null(False), None).cast(pl.Int64)


def _check_whole(series: pl.Series, rows: pl.Series, cells: pl.Series | None, reasons: dict[int, list[str]]) -> None:
    """Reject fractions, which a column of whole numbers would round. ``cells`` as in `ImportSource`, of this column."""
    thousands = pl.Series([False]).new_from_index(0, series.len())
    if cells is not None:
        thousands = cells.str.contains(_THOUSANDS).fill_null(False)
        fault = "looks like thousands with dots (write it without them)"
        _reject(cells.alias(series.name), rows, thousands, fault, reasons)
    numbers = numbers_of(series)
    off = numbers.is_finite() & (numbers >= 0.5) & ((numbers - numbers.round()).abs() > _EXACT * numbers)
    _reject(
        series, rows, off & ~thousands, "is not a whole number (a formula such as ROUND(COLUMN) may round)", reasons
    )


@dataclass(frozen=True, slots=True)
class RunSource:
    """The rows of one import: ``tracker`` as in `ImportSource`; ``held`` are the ids of the store's imported runs."""

    mapped: Mapped
    run: Sequence[str]
    source: str
    tracker: str | None
    held: Collection[str]

    def rows(self, numbers: pl.Series | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row number, row of the trials table) for every row that is not rejected, or for those of ``numbers``.

        Rows are converted to objects in chunks.
        """
        every = self.mapped.frame[ROW]  # ascending
        wanted = every if numbers is None else numbers
        for start in range(0, wanted.len(), _CHUNK):
            at = every.search_sorted(wanted[start : start + _CHUNK])
            chunk, theirs = _plain(self.mapped.frame[at]), self.mapped.theirs[at]
            for values, cells in zip(chunk.iter_rows(named=True), theirs.iter_rows(named=True), strict=True):
                number = values.pop(ROW)
                if number not in self.mapped.reasons:
                    yield number, self._row(values, cells)

    def _row(self, values: dict[str, Any], cells: Mapping[str, Any]) -> dict[str, Any]:
        run = [values.pop(f"{_RUN}{index}") for index in range(len(self.run))]
        known = {name: value for name, value in values.items() if value is not None}
        state = STATES[str(known.pop("state", "completed")).lower()]
        spec = identity(cells, self.run, self.tracker, self.source)
        if self.held and spec.trial_id not in self.held:
            before = {_EARLIER.get(name, name): value for name, value in known.items()}
            # A run of Ray Tune was once its id alone, which is now the last of two columns.
            for own in (run, run[-1:]) if self.run else (None,):
                earlier = earlier_identity(before | {"state": state}, own, self.source)
                spec = earlier if earlier.trial_id in self.held else spec
        return _complete(known, {"trial_id": spec.trial_id, "state": state, "spec": spec.canonical()}, self.source)


def _complete(known: dict[str, Any], own: Mapping[str, Any], source: str) -> dict[str, Any]:
    unique, tokens = known.get("unique_tokens"), known.get("tokens")
    if unique and tokens and "epochs" not in known:
        known["epochs"] = tokens / unique
    return known | {"workload": WORKLOAD, "sweep": source, "attempt": 1, "source": source} | dict(own)


def _roots(used: Mapping[str, str], run: Sequence[str], theirs: pl.DataFrame) -> list[str]:
    """Return the source columns that identify a run: those of ``run``, or else all that are ``used``."""
    if run:
        return list(dict.fromkeys(run))
    roots = {root for text in used.values() for root in expression(text, theirs.schema).meta.root_names()}
    return [name for name in theirs.columns if name in roots]


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with times and dates as ISO 8601 text and null for non-finite numbers."""
    return frame.with_columns(
        pl.Series(column.name, [None if value is None else value.isoformat() for value in column], pl.String)
        if column.dtype in (pl.Datetime, pl.Date)
        else column.set(~column.is_finite(), None)
        for column in frame
        if column.dtype in (pl.Datetime, pl.Date) or column.dtype.is_float()
    )


def _evaluated(
    name: str,
    text: str,
    theirs: pl.DataFrame,
    numeric: Collection[str],
    rows: pl.Series,
    reasons: dict[int, list[str]],
) -> pl.Series:
    """Evaluate the column or expression ``text``. In a formula the ``numeric`` columns, text that is mostly numbers,
    are converted to numbers, and rows with other values in them are rejected. Raise InputError if the types of the
    columns do not permit the formula.
    """
    wanted = expression(text, theirs.schema).alias(name)
    roots = wanted.meta.root_names() if text not in theirs.columns and _FORMULA.search(text) else ()
    numbers = {root: numbers_of(theirs[root]) for root in roots if root in numeric}
    try:
        try:
            values = theirs.with_columns(numbers.values()).with_columns(wanted)[name]
        except _FAILURES:  # for example a comparison as text
            return theirs.with_columns(wanted)[name]
    except _FAILURES as error:
        raise InputError(f"{name}: {text!r}: {str(error).splitlines()[0]}") from None
    for root, found in numbers.items():
        _reject(theirs[root], rows, theirs[root].is_not_null() & found.is_null(), "is not a number", reasons)
    return values


def _typed(series: pl.Series, rows: pl.Series, reasons: dict[int, list[str]]) -> pl.Series:
    """Convert ``series`` to the type of our column of its name. Text such as 150M is accepted as a number."""
    kind = _TYPES.get(series.name)
    if kind in ("int", "float"):
        numbers = numbers_of(series)
        odd = series.is_not_null() & numbers.is_null()
        if series.dtype == pl.String:
            comma = odd & series.str.contains(DECIMAL_COMMA)
            _reject(series, rows, comma, f"is not a number ({_COMMA})", reasons)
            odd = odd & ~comma
        _reject(series, rows, odd, "is not a number", reasons)
        if kind == "float":
            return numbers
        _reject(series, rows, numbers.is_not_null() & ~numbers.is_finite(), "is not finite", reasons)
        _reject(series, rows, (numbers > 0) & (numbers < 0.5), "is less than one (is a unit missing?)", reasons)
        _reject(series, rows, numbers < 0, "is negative", reasons)
        _reject(series, rows, numbers.is_finite() & (numbers >= 2.0**63), "is 2^63 or more", reasons)
        return numbers.round().cast(pl.Int64, strict=False)
    if kind == "time":
        times = times_of(series)
        _reject(series, rows, series.is_not_null() & times.is_null(), "is not a time", reasons)
        return times
    found = simple_of(series)
    return found.cast(pl.String) if kind == "str" else found


def _checked(frame: pl.DataFrame, run: Sequence[str], reasons: dict[int, list[str]]) -> pl.DataFrame:
    """Reject the rows that are no results; return ``frame`` with the runs whose loss is not finite as diverged."""
    rows = frame[ROW]
    if run:
        named = frame.select(pl.any_horizontal(pl.col(f"^{_RUN}.*$").is_not_null())).to_series()
        for row in rows.filter(~named):
            reasons.setdefault(row, []).append(f"{', '.join(run)}: the run is missing")
    finished = pl.Series([True]).new_from_index(0, frame.height) if frame.height else pl.Series([], dtype=pl.Boolean)
    if "state" in frame.columns:
        states = frame["state"].str.to_lowercase()
        known = states.is_in(list(STATES)) | states.is_null()
        _reject(frame["state"], rows, ~known, f"is not a state (accepted: {', '.join(STATES)})", reasons)
        waiting = states.is_in([name for name, state in STATES.items() if state is None])
        _reject(frame["state"], rows, waiting, "is not a result yet", reasons)
        finished = states.is_null() | states.is_in([name for name, state in STATES.items() if state == "completed"])
    if "val_loss" in frame.columns:
        loss = frame["val_loss"]
        _reject(loss, rows, finished & loss.is_null(), "is missing", reasons)
        frame = _diverged(frame, finished & ~loss.is_finite().fill_null(True))
    for name in {name for name in _COUNTS if name in frame.columns and frame[name].dtype == pl.Float64}:
        _reject(frame[name], rows, (frame[name] < 0).fill_null(False), "is negative", reasons)
        _reject(frame[name], rows, frame[name].is_infinite().fill_null(False), "is not finite", reasons)
    return frame


def _diverged(frame: pl.DataFrame, bad: pl.Series) -> pl.DataFrame:
    """Return ``frame`` with these runs, which ended with a loss that is no number, in the state diverged."""
    if not bad.any():
        return frame
    why = {"state": pl.lit("diverged"), "message": pl.format("val_loss is {}", pl.col("val_loss").cast(pl.String))}
    earlier = {name: pl.col(name) if name in frame.columns else pl.lit(None, pl.String) for name in why}
    columns = {name: pl.when(bad).then(value).otherwise(earlier[name]) for name, value in why.items()}
    return frame.with_columns(**columns)


def _reject(series: pl.Series, rows: pl.Series, bad: pl.Series, fault: str, reasons: dict[int, list[str]]) -> None:
    bad = bad.fill_null(False)
    for row, value in zip(rows.filter(bad), series.filter(bad), strict=True):
        shown = "" if value is None else f" = {value!r}"[:_SHOWN]
        reason = f"{series.name}{shown} {fault}"
        if reason not in reasons.setdefault(row, []):  # two formulas may read one column
            reasons[row].append(reason)
