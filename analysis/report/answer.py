"""The answer of a report: what the law is, how far to trust it, what to use, and three verdicts in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from sweeplaw.analysis.fitting.display.fit_card import status_in_words
from sweeplaw.analysis.report.charts.numbers import estimate, fixed, flops, people, percent
from sweeplaw.analysis.tables.roles.guessed import KNOBS
from sweeplaw.trials.quantities import counted

Values = Mapping[str, Any]

ASYMPTOTE = "E"  # of the additive law
NEARLY_ZERO = 0.05  # of the upper end of an interval: its lower end is the bound, but for rounding


@dataclass(frozen=True, slots=True)
class Badge:
    """A verdict: ``grade`` is ok, part or no; ``sentence`` is what counts of it."""

    title: str
    grade: str
    sentence: str


def answer(family: Values) -> list[str]:
    """Return the answer of a family's values (`report_values`) as HTML sentences, the law first."""
    law = family["surface"]
    sentences = [*_law(law), *_growth(law), *_trust(law), *_settings(family)]
    return sentences or [f"{escape(sentence(law['why_not']))}"]


def formula_html(law: Values) -> str:
    """Return ``E + A / N^alpha + B / D^beta`` with its values, in the digits of their intervals, as HTML.

    A parameter that is not identified stays a letter, and so does an asymptote that may as well be zero: it has no
    value to quote.
    """
    shown = {name: _parameter(law, name) for name in law["params"] if name not in _open_parameters(law)}
    text = str(law["formula"])
    text = re.sub(r"\*\*\s*-?\s*(\w+)", lambda m: f"^{m[0].count('-') * '-'}{m[1]}", text).replace("*", "·")
    pieces = re.split(r"(\^-?\w+|\b[A-Za-z_]\w*\b)", text)
    return "".join(_piece(piece, shown) for piece in pieces)


def _piece(piece: str, shown: Mapping[str, str]) -> str:
    if piece.startswith("^"):
        sign, name = ("−" if piece[1] == "-" else ""), piece.lstrip("^-")
        return f"<sup>{sign}{shown.get(name, escape(name))}</sup>"
    return shown.get(piece, escape(piece))


def _parameter(law: Values, name: str) -> str:
    ends = law["intervals"].get(name) or {}
    return escape(estimate(law["params"][name], ends.get("low"), ends.get("high"), units=False)[0])


def _law(law: Values) -> Iterator[str]:
    if law["law"] is None:
        yield f"<strong>There is no law of N and D yet</strong>: {escape(law['why_not'].rstrip('.'))}."
        return
    if not law["verified"]:
        why = escape(status_in_words(law["status"]).removeprefix("NOT VERIFIED: "))
        formula = escape(law["formula"].replace("**", "^"))
        yield f"<strong>There is no law to quote</strong>: the fit of {formula} is not verified ({why})."
        return
    yield f"<strong>Loss follows {formula_html(law)}.</strong>"
    if open_ := [name for name in law["params"] if not law["identified"].get(name, True)]:
        verb = "have" if len(open_) > 1 else "has"
        yield f"{escape(_listed(open_))} {verb} no value to quote, as far other values fit these runs as well."
    if _asymptote_unseen(law):
        high = people(law["intervals"][ASYMPTOTE]["high"], 3)
        yield f"The asymptote {ASYMPTOTE} is not in sight: these runs allow any value from 0 to {high}."


def _open_parameters(law: Values) -> list[str]:
    """Return the parameters without a value to quote."""
    unseen = [ASYMPTOTE] if _asymptote_unseen(law) else []
    return [name for name in law["params"] if name in unseen or not law["identified"].get(name, True)]


def _asymptote_unseen(law: Values) -> bool:
    """Return whether the interval of the asymptote, though it has two ends, holds zero or nearly so."""
    ends = law["intervals"].get(ASYMPTOTE) or {}
    low, high = ends.get("low"), ends.get("high")
    if low is None or high is None:
        return False
    return bool(law["identified"].get(ASYMPTOTE, True) and low <= NEARLY_ZERO * high)


def _growth(law: Values) -> Iterator[str]:
    """Yield how the best model and its data grow with compute, where the law may be used for it."""
    derived = law.get("derived") or {}
    a = (derived.get("a") or {}).get("value")
    if a is None or derived.get("withheld"):
        return
    ends = derived["a"]["interval"] or {}
    size = _times(a, ends.get("low"), ends.get("high"))
    low, high = ends.get("low"), ends.get("high")
    data = _times(1 - a, None if high is None else 1 - high, None if low is None else 1 - low)
    yield f"With each tenfold of compute the best model grows {size} and its training set {data}."


def _times(power: float, low: float | None, high: float | None) -> str:
    inside = "" if low is None or high is None else f" ({fixed(10**low, 2)} to {fixed(10**high, 2)})"
    return f"{fixed(10**power, 2)} times{inside}"


def _trust(law: Values) -> Iterator[str]:
    """Yield how far the law is tested, and what speaks against it."""
    if law["law"] is None or not law["verified"]:
        return
    held = law["holdout"]
    if held.get("rows") == 1:
        yield f"Fitted without the largest run, it missed it by {percent(held['worst_relative_error'])}."
    elif held.get("rows"):
        yield (
            f"Fitted without the {counted(held['rows'], 'largest run')}, it missed them by "
            f"{percent(held['mean_relative_error'])} on average and {percent(held['worst_relative_error'])} at worst."
        )
    verdict, reasons = law["adequacy"]["law"]["verdict"], law["adequacy"]["law"]["reasons"]
    if verdict == "inadequate":
        yield f"<strong>Do not extrapolate it</strong>: {escape(plain(reasons[0]))}."
    elif verdict == "cannot be judged":
        yield "Whether its form is right cannot be judged from these runs, so beyond them it is a guess."
    else:
        top = max((one["flops"] for one in (law.get("derived") or {}).get("compute_optimal", [])), default=None)
        if top is not None and not law["derived"].get("withheld"):
            yield "Beyond the largest run it is a forecast, drawn dashed."


def _settings(family: Values) -> Iterator[str]:
    """Yield the law of each knob's best value, or the best setting of the largest cell."""
    hyper = family["hyperlaws"]
    if hyper and not hyper["refused"] and hyper["laws"] and not objection(hyper["verdict"]):
        laws = [_knob(name, one) for name, one in hyper["laws"].items()]
        yield f"<strong>Use</strong> {' and '.join(laws)}."
        axes = {axis for law in hyper["laws"].values() for axis in law["exponents"]}
        for why in hyper["verdict"]["exponents"]["sentences"]:
            said = why.split(":")[0]
            for axis in axes:
                said = said.replace(f" with {axis} is ", f" with {_short_axis(axis)} is ")
            yield escape(sentence(said))
    elif family["optima"]:
        last = family["optima"][-1]
        knobs = ", ".join(f"{escape(name)} = {escape(_value(one['best']))}" for name, one in last["knobs"].items())
        edges = [name for name, one in last["knobs"].items() if one["touches_edge"]]
        edge = f" ({escape(', '.join(edges))} at the end of what was tried)" if edges else ""
        yield f"In the largest cell the best setting is <strong>{knobs}</strong>{edge}: loss {last['loss']:.3f}."


def objection(verdict: Values) -> bool:
    """Return whether nothing is advised by the laws of the knobs: no optimum was found, or they do not fit."""
    return not verdict["optimum"]["found"] or verdict["law"]["verdict"] == "inadequate"


def _knob(name: str, law: Values) -> str:
    powers = "".join(
        f" {escape(_short_axis(axis))}<sup>{people(power, 2)}</sup>"
        for axis, power in law["exponents"].items()
        if power
    )
    return f"<strong>{escape(name)} = {people(law['coefficient'], 3)}{powers}</strong>"


def _short_axis(axis: str) -> str:
    return {"params": "N", "params_non_embedding": "N", "tokens": "D"}.get(axis, axis)


def _value(value: Any) -> str:
    return people(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def badges(law: Values) -> list[Badge]:
    """Return the three verdicts on a law; none without one."""
    if law["law"] is None:
        return []
    return [_optimum(law), _adequate(law), _identified(law)]


def _optimum(law: Values) -> Badge:
    if law["adequacy"]["optimum"]["found"]:
        agree = f"{law['starts_agreeing']} of {counted(law['starts'], 'start')} of the fit end at it."
        return Badge("Optimum found", "ok", agree)
    return Badge("Optimum not found", "no", sentence(status_in_words(law["status"])))


def _adequate(law: Values) -> Badge:
    found = law["adequacy"]["law"]
    grade = {"adequate": "ok", "inadequate": "no"}.get(found["verdict"], "part")
    title = {"ok": "Law adequate", "no": "Law inadequate", "part": "Law not judged"}[grade]
    reason = found["reasons"][0] if found["reasons"] else "no test could be made"
    return Badge(title, grade, sentence(plain(reason)))


def _identified(law: Values) -> Badge:
    known = law["identified"]
    fixed_ends = [name for name, good in known.items() if good]
    if len(fixed_ends) == len(known) and _asymptote_unseen(law):
        return Badge("Partly identified", "part", f"The interval of {ASYMPTOTE} reaches down to zero. Do not quote it.")
    if len(fixed_ends) == len(known):
        return Badge(
            "Parameters identified", "ok", f"{len(known)} of {len(known)} have an interval with two finite ends."
        )
    open_ = [name for name in known if name not in fixed_ends]
    grade = "part" if fixed_ends else "no"
    names = _listed(open_)
    verb, what = ("have", "them") if len(open_) > 1 else ("has", "it")
    sentence = f"{names} {verb} no bound on one side: far other values fit as well. Do not quote {what}."
    return Badge("Partly identified" if grade == "part" else "Not identified", grade, sentence)


def _listed(names: Sequence[str]) -> str:
    """Return ``A, B and C``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def parameter_rows(law: Values) -> list[tuple[str, str, str]]:
    """Return (name, value, interval) of each parameter as text, ends that say nothing as ``unbounded``."""
    rows = []
    for name, value in law["params"].items():
        ends = law["intervals"].get(name) or {}
        good = law["identified"].get(name, True)
        rows.append((name, *estimate(value, ends.get("low"), ends.get("high"), identified=good)))
    return rows


def next_budgets(law: Values) -> list[tuple[str, ...]]:
    """Return a row for each budget that the law may be asked for: FLOPs, N*, D*, tokens a parameter and the loss."""
    derived = law.get("derived") or {}
    rows = []
    for one in derived.get("compute_optimal", []):
        if one["params"] is None:
            continue
        ends = {name: ((one["intervals"].get(name) or {}).get("low"), (one["intervals"].get(name) or {}).get("high"))
                for name in ("params", "tokens", "tokens_per_param", "loss")}  # fmt: skip
        cells = [" (".join(filter(None, estimate(one[name], *ends[name]))) + ")" for name in ends]
        rows.append((flops(one["flops"]), *cells))
    return rows


def plain(text: str) -> str:
    """Return a finding without its statistics in brackets."""
    return re.sub(r"\s*\([^()]*p [<=>][^()]*\)", "", text)


def repeated(notes: Sequence[str]) -> list[str]:
    """Return sentences, each once, with the number of its repeats."""
    counts: dict[str, int] = {}
    for note in notes:
        counts[note] = counts.get(note, 0) + 1
    return [f"{sentence(note)}{f' ({count} times)' if count > 1 else ''}" for note, count in counts.items()]


def sentence(text: str) -> str:
    """Return a text as a sentence; a first word that names a column, as ``weight_decay`` or ``lr``, stays as it is."""
    first = text.split(" ", 1)[0]
    head = text[:1] if re.search(r"[_0-9./]", first) or first in KNOBS else text[:1].upper()
    return f"{head}{text[1:].rstrip('.')}."
