"""The catalog of laws, in nats a token: N parameters, D training tokens, U unique tokens, M tokens a batch, K steps."""

from __future__ import annotations

from collections.abc import Mapping

from sweeplaw.analysis.laws.law import MAX_EXPONENT, Law, Param, SearchForm
from sweeplaw.trials.errors import InputError, nearest

INPUT_UNITS: Mapping[str, str] = {
    "N": "parameters", "D": "tokens", "U": "unique tokens", "M": "tokens a batch", "K": "steps",
}  # fmt: skip


def _coefficient(name: str, scale: str, unit: str) -> Param:
    return Param(name, unit=unit, scale=scale, start=(0.01, 10.0))


def _exponent(name: str) -> Param:
    return Param(name, high=MAX_EXPONENT)


_E = Param("E", "nats/token", start=(0.1, 4.0))

POWER = Law(
    "power", "A * x**-alpha", ("x",),
    (_coefficient("A", "x**alpha", "nats x^alpha"), _exponent("alpha")),
    "L = A x^-alpha; Kaplan et al. 2020, eq. 1.1-1.3",
)  # fmt: skip
ASYMPTOTE = Law(
    "power_asymptote", "C + A * x**-alpha", ("x",),
    (Param("C", "nats/token"), _coefficient("A", "x**alpha", "nats x^alpha"), _exponent("alpha")),
    "L = A x^-alpha + C; Henighan et al. 2020, eq. 1.1; Kim et al. 2025 (arXiv 2509.14786), sec. 3",
    asymptote="C",
)  # fmt: skip
RECIPROCAL = Law(
    "reciprocal", "C + A / x", ("x",),
    (Param("C", "nats/token"), _coefficient("A", "x", "nats x")),
    "L = A/x + C: excess loss of K averaged members falls nearly as 1/K; Kim et al. 2025 (arXiv 2509.14786), sec. 4",
    asymptote="C",
)  # fmt: skip
ADDITIVE = Law(
    "additive", "E + A / N**alpha + B / D**beta", ("N", "D"),
    (_E, _coefficient("A", "N**alpha", "nats N^alpha"), _coefficient("B", "D**beta", "nats D^beta"),
     _exponent("alpha"), _exponent("beta")),
    "L = E + A/N^alpha + B/D^beta; Hoffmann et al. 2022 (Chinchilla), eq. 2 and 10",
    asymptote="E",
)  # fmt: skip
SKALING = Law(
    "skaling", "E + (A / N**a + B / D**b)**k", ("N", "D"),
    (_E, _coefficient("A", "N**a", "nats^(1/k) N^a"), _coefficient("B", "D**b", "nats^(1/k) D^b"),
     _exponent("a"), _exponent("b"), Param("k", low=0.01, high=MAX_EXPONENT, start=(0.3, 3.0))),
    "L = E + (A N^-a + B D^-b)^k (Skaling, 2026)",
    asymptote="E",
    search=SearchForm(  # exp(s) = A^k and exp(t) = B^k are terms of the loss, p = a k and q = b k its exponents
        "E + (exp((s - p * log(N)) / k) + exp((t - q * log(D)) / k))**k",
        (_E, Param("s", low=-30.0, high=30.0, start=(-4.0, 1.0)), Param("t", low=-30.0, high=30.0, start=(-4.0, 1.0)),
         Param("p", high=MAX_EXPONENT), Param("q", high=MAX_EXPONENT),
         Param("k", low=0.01, high=MAX_EXPONENT, start=(0.15, 2.5))),
        (("E", "E"), ("A", "exp(s / k)"), ("B", "exp(t / k)"), ("a", "p / k"), ("b", "q / k"), ("k", "k")),
    ),
)  # fmt: skip
KAPLAN = Law(
    "kaplan", "((Nc / N)**(aN / aD) + Dc / D)**aD", ("N", "D"),
    (Param("Nc", "parameters", scale="N", start=(1e-3, 1e6), log=True, low=1e-300),
     Param("Dc", "tokens", scale="D", start=(1e-3, 1e6), log=True, low=1e-300),
     _exponent("aN"), Param("aD", low=1e-3, high=MAX_EXPONENT)),
    "L = [(Nc/N)^(aN/aD) + Dc/D]^aD; Kaplan et al. 2020, eq. 1.5",
)  # fmt: skip
BATCH = Law(
    "batch", "E + A / N**a + B / M**b + G / K**c", ("N", "M", "K"),
    (_E, _coefficient("A", "N**a", "nats N^a"), _coefficient("B", "M**b", "nats M^b"),
     _coefficient("G", "K**c", "nats K^c"), _exponent("a"), _exponent("b"), _exponent("c")),
    "L = E + A/N^a + B/M^b + G/K^c, M tokens a batch, K steps; Schaipp et al. (second-hand)",
    asymptote="E",
)  # fmt: skip
BROKEN = Law(
    "broken", "E + A * x**-c0 * (1 + (x / d)**(1 / f))**(-c1 * f)", ("x",),
    (_E, _coefficient("A", "x**c0", "nats x^c0"), _exponent("c0"),
     Param("c1", low=-MAX_EXPONENT, high=MAX_EXPONENT, start=(-0.5, 1.5)),
     Param("d", "x", scale="x", start=(0.01, 100.0), log=True, low=1e-300),
     Param("f", low=0.02, high=10.0, start=(0.1, 1.0))),
    "L = E + A x^-c0 (1 + (x/d)^(1/f))^(-c1 f); Caballero et al. 2022 (broken neural scaling laws), eq. 1, one break",
    asymptote="E",
)  # fmt: skip

# U_N = min(N, N_opt(U)), N_opt(U) = G (U G)^(beta/alpha) the compute-optimal size, G^(alpha+beta) = alpha A/(beta B)
_G = "(alpha * A / (beta * B))**(1 / (alpha + beta))"
_UN = f"min(N, {_G} * (U * {_G})**(beta / alpha))"
DATA_CONSTRAINED = Law(
    "data_constrained",
    f"E + A / ({_UN} * (1 + RN * (1 - exp(-(N / {_UN} - 1) / RN))))**alpha"
    " + B / (U * (1 + RD * (1 - exp(-max(D / U - 1, 0) / RD))))**beta",
    ("N", "D", "U"),
    (_E, _coefficient("A", "N**alpha", "nats N^alpha"), _coefficient("B", "D**beta", "nats D^beta"),
     Param("alpha", low=1e-3, high=MAX_EXPONENT), Param("beta", low=1e-3, high=MAX_EXPONENT),
     Param("RN", "repeats", start=(0.3, 100.0), log=True, low=1e-3, high=1e4),
     Param("RD", "repeats", start=(0.3, 100.0), log=True, low=1e-3, high=1e4)),
    "L = E + A/N'^alpha + B/D'^beta with N' = U_N (1 + R_N* (1 - exp(-R_N/R_N*))), D' likewise; "
    "Muennighoff et al. 2023, eq. 5-7",
    asymptote="E",
    centred_by=("N", "D", "D"),
)  # fmt: skip

LAWS: Mapping[str, Law] = {
    law.name: law for law in (POWER, ASYMPTOTE, RECIPROCAL, ADDITIVE, SKALING, KAPLAN, DATA_CONSTRAINED, BATCH, BROKEN)
}
ALIASES = {"chinchilla": "additive", "power+c": "power_asymptote", "asymptote": "power_asymptote",
           "muennighoff": "data_constrained", "bnsl": "broken"}  # fmt: skip


def law(name: str) -> Law:
    """Return the law of this name. Raise InputError, with the known names, for any other."""
    known = ALIASES.get(name, name)
    if known not in LAWS:
        raise InputError(
            f"law {name!r} is not known (accepted: {', '.join(LAWS)}, or a formula){nearest(name, [*LAWS, *ALIASES])}"
        )
    return LAWS[known]
