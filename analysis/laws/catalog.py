"""The catalog of laws by name, and the laws of N and D or of any one input, in nats a token."""

from __future__ import annotations

from collections.abc import Mapping

from sweeplaw.analysis.laws.further_inputs import (
    BATCH,
    CRITICAL_BATCH,
    DATA_CONSTRAINED,
    MIXTURE_OF_EXPERTS,
    OVERFITTING,
    PRECISION,
    STEPS_TO_LOSS,
)
from sweeplaw.analysis.laws.law import MAX_EXPONENT, Law, Param, SearchForm
from sweeplaw.analysis.laws.parameters import IRREDUCIBLE, coefficient, exponent, slope
from sweeplaw.trials.errors import InputError, nearest

INPUT_UNITS: Mapping[str, str] = {
    "N": "parameters", "D": "tokens", "U": "unique tokens", "M": "tokens a batch", "K": "steps", "X": "experts",
    "P": "bits",
}  # fmt: skip


POWER = Law(
    "power", "A * x**-alpha", ("x",),
    (coefficient("A", "x**alpha", "nats x^alpha"), exponent("alpha")),
    "L = A x^-alpha; Kaplan et al. 2020, eq. 1.1-1.3",
)  # fmt: skip
ASYMPTOTE = Law(
    "power_asymptote", "C + A * x**-alpha", ("x",),
    (Param("C", "nats/token"), coefficient("A", "x**alpha", "nats x^alpha"), exponent("alpha")),
    "L = A x^-alpha + C; Henighan et al. 2020, eq. 1.1; Kim et al. 2025 (arXiv 2509.14786), sec. 3",
    asymptote="C",
)  # fmt: skip
RECIPROCAL = Law(
    "reciprocal", "C + A / x", ("x",),
    (Param("C", "nats/token"), coefficient("A", "x", "nats x")),
    "L = A/x + C: excess loss of K averaged members falls nearly as 1/K; Kim et al. 2025 (arXiv 2509.14786), sec. 4",
    asymptote="C",
)  # fmt: skip
ADDITIVE = Law(
    "additive", "E + A / N**alpha + B / D**beta", ("N", "D"),
    (IRREDUCIBLE, coefficient("A", "N**alpha", "nats N^alpha"), coefficient("B", "D**beta", "nats D^beta"),
     exponent("alpha"), exponent("beta")),
    "L = E + A/N^alpha + B/D^beta; Hoffmann et al. 2022 (Chinchilla), eq. 2 and 10",
    asymptote="E",
)  # fmt: skip
SKALING = Law(
    "skaling", "E + (A / N**a + B / D**b)**k", ("N", "D"),
    (IRREDUCIBLE, coefficient("A", "N**a", "nats^(1/k) N^a"), coefficient("B", "D**b", "nats^(1/k) D^b"),
     exponent("a"), exponent("b"), Param("k", low=0.01, high=MAX_EXPONENT, start=(0.3, 3.0))),
    "L = E + (A N^-a + B D^-b)^k (Skaling, 2026)",
    asymptote="E",
    search=SearchForm(  # exp(s) = A^k and exp(t) = B^k are terms of the loss, p = a k and q = b k its exponents
        "E + (exp((s - p * log(N)) / k) + exp((t - q * log(D)) / k))**k",
        (IRREDUCIBLE, Param("s", low=-30.0, high=30.0, start=(-4.0, 1.0)),
         Param("t", low=-30.0, high=30.0, start=(-4.0, 1.0)), Param("p", high=MAX_EXPONENT),
         Param("q", high=MAX_EXPONENT), Param("k", low=0.01, high=MAX_EXPONENT, start=(0.15, 2.5))),
        (("E", "E"), ("A", "exp(s / k)"), ("B", "exp(t / k)"), ("a", "p / k"), ("b", "q / k"), ("k", "k")),
    ),
)  # fmt: skip
KAPLAN = Law(
    "kaplan", "((Nc / N)**(aN / aD) + Dc / D)**aD", ("N", "D"),
    (Param("Nc", "parameters", scale="N", start=(1e-3, 1e6), log=True, low=1e-300),
     Param("Dc", "tokens", scale="D", start=(1e-3, 1e6), log=True, low=1e-300),
     exponent("aN"), Param("aD", low=1e-3, high=MAX_EXPONENT)),
    "L = [(Nc/N)^(aN/aD) + Dc/D]^aD; Kaplan et al. 2020, eq. 1.5",
)  # fmt: skip
BROKEN = Law(
    "broken", "E + A * x**-c0 * (1 + (x / d)**(1 / f))**(-c1 * f)", ("x",),
    (IRREDUCIBLE, coefficient("A", "x**c0", "nats x^c0"), exponent("c0"),
     Param("c1", low=-MAX_EXPONENT, high=MAX_EXPONENT, start=(-0.5, 1.5)),
     Param("d", "x", scale="x", start=(0.01, 100.0), log=True, low=1e-300),
     Param("f", low=0.02, high=10.0, start=(0.1, 1.0))),
    "L = E + A x^-c0 (1 + (x/d)^(1/f))^(-c1 f); Caballero et al. 2022 (broken neural scaling laws), eq. 1, one break",
    asymptote="E",
)  # fmt: skip


def _bent(slope: str, bend: str, size: str) -> str:
    """Return the log of a factor that is 1 at ``size`` = 1, with log-slope ``slope`` there; a power law if unbent."""
    return f"{slope} * ({size}**{bend} - 1) / {bend}"


def _farseer(asymptote: str, term: str, exponent: str, slopes: tuple[str, str, str], size: str, tokens: str) -> str:
    """Return the formula by values at ``size`` and ``tokens``: its asymptote, its term of D and the exponent of that.

    ``slopes`` are those of their logs in log N.
    """
    middle, data = f"(N / {size})", f"log({tokens})"
    falling = _bent(f"({slopes[1]} + {slopes[2]} * {exponent} * {data})", "v", middle)
    power = f"{exponent} * ({data} - exp({_bent(slopes[2], 'w', middle)}) * log(D))"
    return f"{asymptote} * exp({_bent(slopes[0], 'u', middle)}) + {term} * exp({falling} + {power})"


def _farther(slope: str, bend: str) -> str:
    """Return the factor of `_bent` at 1e9 parameters, where it is given at the middle of the rows."""
    return f"exp({_bent(slope, bend, '(1e9 / N0)')})"


_BENDS = tuple(Param(name, low=-2.0, high=2.0, start=(-1.0, 1.02)) for name in ("u", "v", "w"))
_BETA, _R = f"b * {_farther('k', 'w')}", "k * (1e9 / N0)**w"
FARSEER = Law(
    "farseer", _farseer("E", "B", "beta", ("p", "q", "r"), "1e9", "1e10"), ("N", "D"),
    (IRREDUCIBLE, coefficient("B", "1", "nats"), exponent("beta"),
     slope("p", -0.4, 0.1), slope("q", -0.5, 0.5), slope("r", -0.4, 0.3), *_BENDS),
    "L = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^-exp(a1 N^alpha + b1); Li et al. 2025 (Farseer, arXiv "
    "2506.10972), eq. 3, by its values at 1e9 parameters, E + B (D/1e10)^-beta, the slopes p, q, r of ln E, ln B, ln "
    "beta in ln N there, and u, v, w = gamma, beta, alpha",
    scaled=False,
    search=SearchForm(  # the same by its values at the middle of the rows
        _farseer("F", "T", "b", ("i", "j", "k"), "N0", "D0"),
        (Param("F", start=(0.1, 4.0)), coefficient("T", "1", "nats"), exponent("b"),
         slope("i", -0.4, 0.1), slope("j", -0.5, 0.5), slope("k", -0.4, 0.3), *_BENDS),
        (("E", f"F * {_farther('i', 'u')}"),
         ("B", f"T * {_farther('(j + k * b * log(D0))', 'v')} * exp(b * log(D0) - {_BETA} * log(1e10))"),
         ("beta", _BETA), ("p", "i * (1e9 / N0)**u"),
         ("q", f"(j + k * b * log(D0)) * (1e9 / N0)**v - {_R} * {_BETA} * log(1e10)"), ("r", _R),
         ("u", "u"), ("v", "v"), ("w", "w")),
    ),
)  # fmt: skip

LAWS: Mapping[str, Law] = {
    law.name: law
    for law in (
        POWER, ASYMPTOTE, RECIPROCAL, ADDITIVE, SKALING, KAPLAN, FARSEER, DATA_CONSTRAINED, OVERFITTING, BATCH,
        CRITICAL_BATCH, STEPS_TO_LOSS, MIXTURE_OF_EXPERTS, PRECISION, BROKEN,
    )
}  # fmt: skip
ALIASES = {"chinchilla": "additive", "power+c": "power_asymptote", "asymptote": "power_asymptote",
           "muennighoff": "data_constrained", "bnsl": "broken", "lovelace": "overfitting", "moe": "mixture_of_experts",
           "mccandlish": "steps_to_loss", "kumar": "precision"}  # fmt: skip


def law(name: str) -> Law:
    """Return the law of this name. Raise InputError, with the known names, for any other."""
    known = ALIASES.get(name, name)
    if known not in LAWS:
        raise InputError(
            f"law {name!r} is not known (accepted: {', '.join(LAWS)}, or a formula){nearest(name, [*LAWS, *ALIASES])}"
        )
    return LAWS[known]
