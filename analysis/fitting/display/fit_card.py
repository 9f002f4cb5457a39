"""A fit as text and in a notebook: its verdict, a table of parameters with intervals, warnings and allocations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sweeplaw.analysis.fitting.derived.derived_interval import MISFIT
from sweeplaw.analysis.fitting.display.digits import in_step
from sweeplaw.analysis.tables.display import Card
from sweeplaw.trials.quantities import percent


def fit_card(answer: Mapping[str, Any]) -> Card:
    """Return what a fit shows, from its plain values (`fit_summary.summarise`)."""
    method: Mapping[str, Any] = next(iter(answer["intervals"].values()), {"level": 0.95, "method": ""})
    return Card(
        tuple(_heading(answer)),
        ("parameter", "value", "low", "high"),
        tuple(_parameters(answer)),
        (*further_warnings(answer), *sides(answer)),
        f"{percent(method['level'])} intervals: {method['method']}",
        tuple(_derived(answer)),
    )


def further_warnings(answer: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a fit, without its status, which is shown by itself."""
    return [warning for warning in answer["warnings"] if warning != answer["status"]]


def sides(answer: Mapping[str, Any]) -> list[str]:
    """Return the parameters that are not identified; with resamples, why their intervals may still be finite."""
    profile = "; its profile says so, the interval shown is the spread of the resamples"
    return [f"{verdict}{profile if answer['bootstrap'] else ''}" for verdict in answer["identifiability"]]


def status_in_words(status: str) -> str:
    """Return a status without the solver's own measures: those are in the JSON."""
    return re.sub(r", scaled gradient \S+, condition \S+$", "", status)


def mark(numbers: Mapping[str, Any]) -> str:
    """Return the mark of numbers that come from a fit that is not verified."""
    return "" if numbers["verified"] else " ?"


def ends(interval: Mapping[str, float | None] | None, digits: int) -> str:
    """Return `` [low, high]``, empty without an interval; an unknown end is a dash."""
    if interval is None:
        return ""
    low, high = ("–" if end is None else f"{end:.{digits}f}" for end in (interval["low"], interval["high"]))
    return f" [{low}, {high}]"


def badges(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the three verdicts on a fit, and a line for each reason that is not shown as a note."""
    found = answer["adequacy"]
    yield f"verdicts: {'; '.join(found['badges'])}"
    yield from (f"{found['badges'][1]}: {reason}" for reason in found["law"]["reasons"])
    noted = answer["identifiability"]
    yield from (f"{found['badges'][2]}: {one}" for one in found["parameters"]["sentences"] if one not in noted)


def _heading(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['law']}: L = {answer['formula']}" + ("" if answer["verified"] else "  [not verified]")
    columns = ", ".join(f"{name} = {column}" for name, column in answer["columns"].items())
    units = ", ".join(f"{name} in {unit:g}" for name, unit in answer["units"].items() if unit != 1)
    yield f"columns: {columns}" + (f"; units: {units}" if units else "")
    yield f"objective: {answer['objective']['in_words']} = {answer['objective']['value']:.10g}"
    yield f"status: {answer['status']}"
    yield from badges(answer)
    rule = f" ({answer['rows']})" if answer["rows"] else ""
    yield f"rows: {answer['rows_used']} used{rule}, {answer['rows_dropped']} left out"


def _parameters(answer: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in answer["params"].items():
        interval = answer["intervals"].get(name)
        shown, low, high = in_step(value, *((interval["low"], interval["high"]) if interval else (None, None)))
        yield name, f"{shown}{mark(answer)}", low, high
    for name, value in answer["fixed"].items():
        yield name, f"{value:.8g}", "fixed", ""


def _derived(answer: Mapping[str, Any]) -> Iterator[str]:
    derived = answer["derived"]
    if "compute_optimal" not in derived:
        return
    if derived["withheld"] and not derived["forced"]:
        yield f"no allocation of compute: {derived['withheld']} (override with --force or force=True)"
        return
    if derived["forced"]:
        yield f"allocations that are not advised: {derived['withheld']}"
    elif answer["adequacy"]["law"]["verdict"] == "cannot be judged":
        yield "no test could judge the law: what follows holds only if its form is right"
    a = derived["a"]
    if a["interval"] and MISFIT in a["interval"]["method"]:
        yield f"the intervals below are{MISFIT.removeprefix(',')}"
    yield f"{derived['compute']}: N* grows as C^{a['value']:.4f}{ends(a['interval'], 3)}{mark(answer)}"
    for item in derived["compute_optimal"]:
        yield f"  {item['sentence']}{_detail(item)}{mark(answer)}"


def _detail(item: Mapping[str, Any]) -> str:
    """Return the tokens per parameter and the loss of an allocation; empty if it is withheld."""
    if item["loss"] is None:
        return ""
    loss = f"{item['loss']:.4f}{ends(item['intervals'].get('loss'), 4)}"
    return f" ({item['tokens_per_param']:.3g} tokens per parameter, loss {loss})"
