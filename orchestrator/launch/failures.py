"""Why trials failed, grouped so that equal causes count together; and when a launch that only fails is to stop."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sweeplaw.orchestrator.plan.limits import StopPolicy
from sweeplaw.trials.record import State

FAILED: tuple[State, ...] = ("failed", "out_of_memory")  # a diverged trial has a result: its settings do not train
UNSETTLED: tuple[State, ...] = (*FAILED, "preempted")  # what a launch that ran to its end leaves without a result
SHOWN = 3  # causes
_LONGEST = 200  # characters of a reason
_NOTES = r"(\nnote: [^\n]*)+\s*$"  # at the end of a message (`reports.outcome`)
_VARIES = (  # parts of a message that differ between trials that fail for one cause
    (r"0x[0-9a-fA-F]+", "…"),
    (r"/tmp/[^\s:'\"]*", "…"),
    (r"\b[0-9a-f]{8,}\b", "…"),
    (r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", "…"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A cause of failed trials: the ``reason`` that one of them gives, their number, and the id of that one."""

    reason: str
    count: int
    trial_id: str


def failures(outcomes: pl.DataFrame, states: Sequence[State] = FAILED) -> tuple[Failure, ...]:
    """Return the causes among the ``outcomes`` (trial_id, state, message) in these states, most frequent first.

    The reason is the first line of a message, and its last, where the error of a script is; the notes on its reports,
    which follow, are none. Numbers, addresses and temporary names in it do not distinguish causes.
    """
    message = pl.col("message").fill_null("no message").str.replace(_NOTES, "").str.strip_chars()
    lines = message.str.split("\n")
    first, last = lines.list.first(), lines.list.last()
    reason = pl.when(lines.list.len() > 1).then(pl.concat_str(first, pl.lit(": "), last)).otherwise(first)
    cause = reason
    for pattern, varies in _VARIES:
        cause = cause.str.replace_all(pattern, varies)
    failed = outcomes.filter(pl.col("state").is_in(list(states))).with_columns(reason=reason, cause=cause)
    groups = failed.group_by("cause").agg(pl.len(), pl.col("reason", "trial_id").sort_by("trial_id").first())
    rows = groups.sort(["len", "trial_id"], descending=[True, False]).select("reason", "len", "trial_id").iter_rows()
    return tuple(Failure(reason[:_LONGEST], count, trial) for reason, count, trial in rows)


def sentences(found: Sequence[Failure], store: str) -> list[str]:
    """Return a line for each of the most frequent causes, with the command that shows one of their trials."""
    lines = []
    for cause in found[:SHOWN]:
        lines += [f"{cause.count:>9,}  {cause.reason}", f"{'':>11}sweeplaw show {shlex.quote(store)} {cause.trial_id}"]
    others = sum(cause.count for cause in found[SHOWN:])
    return [*lines, f"{others:>9,}  for {len(found) - SHOWN} other reasons"] if others else lines


class FailureWatch:
    """Counts the attempts of a launch that ended, until its rule to stop is met (`StopPolicy`)."""

    def __init__(self, stop: StopPolicy) -> None:
        self._stop = stop
        self._ended = self._failed = self._in_a_row = 0

    def ended(self, state: str) -> str | None:
        """Count an attempt; return why the launch is to stop, or None."""
        self._ended += 1
        self._failed += state == "failed"
        self._in_a_row = self._in_a_row + 1 if state == "failed" else 0
        rule, count = self._stop.rule
        if rule == "first" and self._failed == self._ended >= count:
            return f"the first {self._ended} attempts that ended have all failed{self._setting}"
        if rule == "row" and self._in_a_row >= count:
            return f"{self._in_a_row} attempts in a row have failed{self._setting}"
        if rule == "share" and self._ended >= StopPolicy.LEAST and self._failed >= count * self._ended:
            return f"{self._failed} of {self._ended} attempts that ended have failed{self._setting}"
        return None

    @property
    def _setting(self) -> str:
        return f" (stop.failures = {self._stop.failures!r})"
