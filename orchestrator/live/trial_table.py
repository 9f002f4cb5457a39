"""The table of trials of the page: filtered by an SQL condition, sorted, and a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.sql.expressions import condition, first_line
from sweeplaw.orchestrator.live.overview import LOSS, Overview
from sweeplaw.trials.errors import InputError

PAGE = 40  # trials
MOST_KNOBS = 5  # columns of knobs
LONGEST_WHERE = 2000  # characters


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of the page asks for: a condition, a column to sort by (- for descending), a page from 1."""

    where: str = ""
    sort: str = LOSS
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Return what a query string asks for; an invalid page number counts as the first page."""
        page = query.get("page", "1")
        number = int(page) if page.isascii() and page.isdecimal() and len(page) < 9 else 1
        return cls(query.get("where", "").strip(), query.get("sort", LOSS) or LOSS, max(1, number))

    def address(self, **changes: Any) -> str:
        """Return the query string with these changes; what is as by default is left out."""
        values = {"where": self.where, "sort": self.sort, "page": self.page, **changes}
        default = {"where": "", "sort": LOSS, "page": 1}
        return "?" + urlencode({name: value for name, value in values.items() if value != default[name]})


@dataclass(frozen=True, slots=True)
class TrialTable:
    """A page of the trials: ``rows`` have the ``columns``; ``count`` trials match, on ``pages`` pages."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    count: int
    pages: int
    asked: Asked


def matching(found: Overview, where: str) -> pl.DataFrame:
    """Return the trials for which the condition holds. Raise InputError for one that cannot be evaluated.

    A condition may name any column of the store; one that is not in memory is read from the files.
    """
    if not where:
        return found.rows
    if len(where) > LONGEST_WHERE:
        raise InputError(f"WHERE has {len(where):,} characters (accepted: at most {LONGEST_WHERE:,})")
    try:
        inside = condition(where, found.rows.schema)
    except InputError:
        return found.rows.join(_ids(found.source, where), on="trial_id", how="semi")
    return _evaluated(lambda: found.rows.filter(inside), where)


def trial_table(found: Overview, trials: pl.DataFrame, asked: Asked) -> TrialTable:
    """Return the page of ``trials`` that is asked for; an unknown column to sort by is the loss."""
    knobs = found.by.knobs[:MOST_KNOBS] if found.by else ()
    point = (found.by.n, found.by.d) if found.by else ()
    columns = tuple(name for name in ("state", *point, *knobs, LOSS, "train_seconds", "host") if name in trials.columns)
    name = asked.sort.removeprefix("-")
    if name not in columns:
        asked, name = Asked(asked.where, LOSS, asked.page), LOSS
    pages = max(1, -(-trials.height // PAGE))
    number = min(asked.page, pages)
    rows: list[dict[str, Any]] = []
    if trials.height:
        order = trials.select("trial_id", name)
        last = asked.sort.startswith("-")
        top = _first(order.with_row_index("__at"), name, number * PAGE, descending=last)
        at = top["__at"][(number - 1) * PAGE :]
        rows = trials[at].select("trial_id", *columns).to_dicts()
    return TrialTable(columns, tuple(rows), trials.height, pages, Asked(asked.where, asked.sort, number))


def _first(order: pl.DataFrame, name: str, count: int, *, descending: bool) -> pl.DataFrame:
    """Return the first rows in this order, unknown values last, equal ones by id."""
    known, unknown = order.drop_nulls(name), order.filter(pl.col(name).is_null())
    keys = {"by": [name, "trial_id"], "reverse": [not descending, True]}
    if known.height:
        edge = known.lazy().top_k(count, by=keys["by"], reverse=keys["reverse"]).collect()  # type: ignore[arg-type]
        known = edge.sort(name, "trial_id", descending=[descending, False])
    if known.height >= count:
        return known
    rest = unknown.lazy().top_k(count - known.height, by="trial_id", reverse=True).collect().sort("trial_id")
    return pl.concat([known, rest])


def _ids(source: str, where: str) -> pl.DataFrame:
    def read(verify: bool) -> pl.DataFrame:
        loaded = tables.load(source, states=None, where=where, verify=verify)
        return _evaluated(lambda: loaded.trials.select("trial_id").collect(), where)

    return tables.unless_damaged(read)


def _evaluated(work: Any, where: str) -> pl.DataFrame:
    try:
        found: pl.DataFrame = work()
    except pl.exceptions.ComputeError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"{where}: {first_line(error)}") from None
    return found
