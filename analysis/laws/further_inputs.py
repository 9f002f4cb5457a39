"""Published laws of more than N and D: unique tokens U, tokens a batch M, steps K, experts X a layer, bits P."""

from __future__ import annotations

from sweeplaw.analysis.laws.law import Law, Param, SearchForm
from sweeplaw.analysis.laws.parameters import IRREDUCIBLE, coefficient, exponent, slope

_SIZE_AND_TOKENS = (coefficient("A", "N**alpha", "nats N^alpha"), coefficient("B", "D**beta", "nats D^beta"))

# U_N = min(N, N_opt(U)), N_opt(U) = G (U G)^(beta/alpha) the compute-optimal size, G^(alpha+beta) = alpha A/(beta B)
_G = "(alpha * A / (beta * B))**(1 / (alpha + beta))"
_UN = f"min(N, {_G} * (U * {_G})**(beta / alpha))"
DATA_CONSTRAINED = Law(
    "data_constrained",
    f"E + A / ({_UN} * (1 + RN * (1 - exp(-(N / {_UN} - 1) / RN))))**alpha"
    " + B / (U * (1 + RD * (1 - exp(-max(D / U - 1, 0) / RD))))**beta",
    ("N", "D", "U"),
    (IRREDUCIBLE, *_SIZE_AND_TOKENS, exponent("alpha", 1e-3), exponent("beta", 1e-3),
     Param("RN", "repeats", start=(0.3, 100.0), log=True, low=1e-3, high=1e4),
     Param("RD", "repeats", start=(0.3, 100.0), log=True, low=1e-3, high=1e4)),
    "L = E + A/N'^alpha + B/D'^beta with N' = U_N (1 + R_N* (1 - exp(-R_N/R_N*))), D' likewise; "
    "Muennighoff et al. 2023, eq. 5-7",
    asymptote="E",
    centred_by=("N", "D", "D"),
)  # fmt: skip

# D / U - 1 is rounded in runs of one epoch, whose penalty is none: they get the second number, any other the first
OVERFITTING = Law(
    "overfitting",
    "E + A / N**alpha + B / D**beta + P * max(D / U - 1.000000001, 1e-100)**delta * (N / U)**kappa",
    ("N", "D", "U"),
    (IRREDUCIBLE, *_SIZE_AND_TOKENS, coefficient("P", "(U / N)**kappa", "nats"), exponent("alpha"), exponent("beta"),
     Param("delta", low=0.05, high=20.0, start=(0.2, 2.0)), exponent("kappa")),
    "L = E + A/N^alpha + B/D^beta + P (D/U - 1)^delta (N/U)^kappa; Lovelace et al. 2026 (arXiv 2605.01640)",
    asymptote="E",
    centred_by=("N", "D", "D"),
)  # fmt: skip

BATCH = Law(
    "batch", "E + A / N**a + B / M**b + G / K**c", ("N", "M", "K"),
    (IRREDUCIBLE, coefficient("A", "N**a", "nats N^a"), coefficient("B", "M**b", "nats M^b"),
     coefficient("G", "K**c", "nats K^c"), exponent("a"), exponent("b"), exponent("c")),
    "L = E + A/N^a + B/M^b + G/K^c, M tokens a batch, K steps; Schaipp et al. (second-hand)",
    asymptote="E",
)  # fmt: skip
CRITICAL_BATCH = Law(
    "critical_batch", "E + A / N**alpha + B * ((1 + M / (M0 * D**c)) / D)**beta", ("N", "D", "M"),
    (IRREDUCIBLE, *_SIZE_AND_TOKENS, exponent("alpha"), exponent("beta"),
     Param("M0", "tokens a batch D^-c", scale="M / D**c", start=(0.1, 30.0), log=True, low=1e-300),
     Param("c", low=-2.0, high=2.0, start=(-0.2, 1.0))),
    "L = E + A/N^alpha + B/D'^beta, D' = D/(1 + M/M_crit) (McCandlish et al. 2018; Kaplan et al. 2020, eq. 5.1), "
    "M_crit = M0 D^c (Zhang et al. 2024, arXiv 2410.21676)",
    asymptote="E",
)  # fmt: skip
STEPS_TO_LOSS = Law(
    "steps_to_loss", "Kmin * (1 + Mcrit / M)", ("M",),
    (Param("Kmin", "steps", start=(0.1, 1.0)),
     Param("Mcrit", "M", scale="M", start=(0.01, 100.0), log=True, low=1e-300)),
    "K = K_min (1 + M_crit/M), steps to one loss with M a batch: (K/K_min - 1)(K M/E_min - 1) = 1 with E_min = K_min "
    "M_crit; McCandlish et al. 2018; Kaplan et al. 2020, eq. 5.1",
)  # fmt: skip

PRECISION = Law(
    "precision", "E + A / (N * (1 - exp(-P / gamma))**3)**alpha + B / D**beta", ("N", "D", "P"),
    (IRREDUCIBLE, *_SIZE_AND_TOKENS, exponent("alpha"), exponent("beta"),
     Param("gamma", "bits", scale="P", start=(0.05, 2.0), log=True, low=1e-300)),
    "L = E + A/N_eff^alpha + B/D^beta, N_eff = N (1 - exp(-P/gamma))^3 effective parameters with weights, activations "
    "and KV cache in P bits; Kumar et al. 2024 (arXiv 2411.04330), sec. 4",
    asymptote="E",
)  # fmt: skip


def _experts(inner: str) -> str:
    """Return the effective number of experts; ``inner`` is 1/(1/Xstart - 1/Xmax) (Clark et al. 2022)."""
    return f"(1 / (1 / (X - 1 + {inner}) + 1 / Xmax))"


_X, _SEARCHED_X = _experts("1 / (1 / Xstart - 1 / Xmax)"), _experts("Z")
_MAX_EXPERTS = Param("Xmax", "experts", low=33.0, high=1e5, start=(64.0, 2000.0), log=True)
_COUPLINGS = (slope("gamma", -0.05, 0.05), slope("zeta", -0.05, 0.05))
MIXTURE_OF_EXPERTS = Law(
    "mixture_of_experts",
    f"E + A * {_X}**delta * N**(gamma * log({_X}) - alpha) + B * {_X}**omega * D**(zeta * log({_X}) - beta)",
    ("N", "D", "X"),
    (IRREDUCIBLE, *_SIZE_AND_TOKENS, exponent("alpha"), exponent("beta"), slope("delta", -1.5, 0.5),
     slope("omega", -0.5, 1.5), *_COUPLINGS,
     Param("Xstart", "experts", low=0.5, high=32.0, start=(1.0, 8.0), log=True), _MAX_EXPERTS),
    "L = E + A X^delta N^(gamma ln X - alpha) + B X^omega D^(zeta ln X - beta), N active parameters, X a saturating "
    "transform of the number of experts; Ludziejewski et al. 2025 (arXiv 2502.05172), eq. 4 and 6 (alpha, beta: -1 "
    "times theirs)",
    asymptote="E",
    scaled=False,
    search=SearchForm(  # F and T are the terms of a model at the middle of the rows with one effective expert
        f"E + F * {_SEARCHED_X}**s * (N / N0)**(gamma * log({_SEARCHED_X}) - alpha)"
        f" + T * {_SEARCHED_X}**t * (D / D0)**(zeta * log({_SEARCHED_X}) - beta)",
        (IRREDUCIBLE, coefficient("F", "1", "nats"), coefficient("T", "1", "nats"), exponent("alpha"), exponent("beta"),
         slope("s", -0.8, 0.2), slope("t", -0.5, 0.3), *_COUPLINGS,
         Param("Z", low=0.5, high=1e3, start=(1.0, 8.0), log=True), _MAX_EXPERTS),
        (("E", "E"), ("A", "F * N0**alpha"), ("B", "T * D0**beta"), ("alpha", "alpha"), ("beta", "beta"),
         ("delta", "s - gamma * log(N0)"), ("omega", "t - zeta * log(D0)"), ("gamma", "gamma"), ("zeta", "zeta"),
         ("Xstart", "1 / (1 / Z + 1 / Xmax)"), ("Xmax", "Xmax")),
    ),
)  # fmt: skip
