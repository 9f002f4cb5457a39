"""Published laws for the best learning rate, batch size and weight decay, with their source and standing.

N is parameters (each law names which), D training tokens, C training FLOPs, L nats per token. A number marked
second-hand comes from another paper's account and was not checked in the original; a law with an unknown constant has
exponents only and is never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = Mapping[str, Array]  # N, D, C (FLOPs), L (nats), lr, batch_tokens: those known at each cell
Knob = Literal["lr", "batch_tokens", "weight_decay"]
Count = Literal["non_embedding", "total", "with_head", "none"]

SEQUENCE = 2048  # tokens per sequence in the batches of Porian et al. and Power Lines


@dataclass(frozen=True, slots=True)
class PublishedLaw:
    """``predict[knob]`` maps a point to the knob (lr; batch in tokens; weight decay), elementwise.

    ``needs``: names that a prediction reads. ``parameters``: the parameters that its N counts. ``exponents``: by knob
    and axis, for laws whose constant is unknown. ``verified``: checked in the original paper or its code.
    """

    name: str
    title: str
    formula: str
    units: str
    parameters: Count
    source: str
    verified: bool
    standing: str
    predict: Mapping[Knob, Callable[[Point], Array]]
    needs: Mapping[Knob, tuple[str, ...]]
    exponents: Mapping[Knob, Mapping[str, float]]

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The knobs that the law predicts."""
        return tuple(self.predict)


def _law(
    name: str,
    title: str,
    formula: str,
    units: str,
    parameters: Count,
    source: str,
    standing: str,
    predict: Mapping[Knob, tuple[tuple[str, ...], Callable[[Point], Array]]],
    exponents: Mapping[Knob, Mapping[str, float]] | None = None,
) -> PublishedLaw:
    return PublishedLaw(
        name=name,
        title=title,
        formula=formula,
        units=units,
        parameters=parameters,
        source=source,
        verified=standing.startswith("verified"),
        standing=standing,
        predict={knob: function for knob, (_, function) in predict.items()},
        needs={knob: needs for knob, (needs, _) in predict.items()},
        exponents=exponents or {},
    )


_LAWS = (
    _law(
        "kaplan",
        "Kaplan et al. 2020; critical batch of McCandlish et al. 2018",
        "lr = .003239 - .0001395 ln N; B = 2e8 L^(-1/.21)",
        "B in tokens, L in nats a token",
        "non_embedding",
        "arXiv 2001.08361, appendix D.6 and equation 1.4",
        "verified (a widely copied table prints 2e18 for 2e8: wrong)",
        {
            "lr": (("N",), lambda p: 0.003239 - 0.0001395 * np.log(p["N"])),
            "batch_tokens": (("L",), lambda p: 2e8 * p["L"] ** (-1 / 0.21)),
        },
    ),
    _law(
        "deepseek",
        "DeepSeek LLM 2024",
        "lr = .3118 C^-.1250; B = .2920 C^.3271; C = M D",
        "B in tokens, C in FLOPs with M the non-embedding FLOPs a token",
        "none",
        "arXiv 2401.02954, equations 1 and 2",
        "verified (a copied table prints .3188 for .3118: wrong)",
        {
            "lr": (("C",), lambda p: 0.3118 * p["C"] ** -0.1250),
            "batch_tokens": (("C",), lambda p: 0.2920 * p["C"] ** 0.3271),
        },
    ),
    _law(
        "porian",
        "Porian et al. 2024",
        "lr = .0047 (N/1.08e8)^(-1/3); B = 160 (N/1.08e8)^(2/3)",
        "B in sequences of 2048 tokens",
        "with_head",
        "arXiv 2406.19146 and its code",
        "verified in code",
        {
            "lr": (("N",), lambda p: 0.0047 * (p["N"] / 1.08e8) ** (-1 / 3)),
            "batch_tokens": (("N",), lambda p: SEQUENCE * 160 * (p["N"] / 1.08e8) ** (2 / 3)),
        },
    ),
    _law(
        "minicpm",
        "MiniCPM 2024",
        "B = 1.21e9 / L^6.24; lr = .01 under muP",
        "B in tokens, L in nats a token; lr is the base rate of a maximal-update parametrization, not ours to compare",
        "none",
        "arXiv 2404.06395, section 3",
        "verified",
        {"batch_tokens": (("L",), lambda p: 1.21e9 / p["L"] ** 6.24)},
    ),
    _law(
        "step-law",
        "Step Law 2025",
        "lr = 1.79 N^-.713 D^.307; B = .58 D^.571",
        "B in tokens; N is total parameters for mixtures of experts",
        "non_embedding",
        "arXiv 2503.04715",
        "verified",
        {
            "lr": (("N", "D"), lambda p: 1.79 * p["N"] ** -0.713 * p["D"] ** 0.307),
            "batch_tokens": (("D",), lambda p: 0.58 * p["D"] ** 0.571),
        },
    ),
    _law(
        "bjorck",
        "Bjorck et al. 2024 (Microsoft)",
        "lr = c N^-.23 D^-.32",
        "constant and units unknown",
        "none",
        "arXiv 2409.19913, as cited by others",
        "second-hand: exponents only, constant and units unverified",
        {},
        {"lr": {"N": -0.23, "D": -0.32}},
    ),
    _law(
        "power-lines",
        "Power Lines 2025 (Cerebras)",
        "tau = B/(lr wd D) = 1.084 (D/N)^-.527; B = .0306 D^.383; wd = B/(lr D tau)",
        "B in sequences of 2048 tokens in its own law, tokens in tau",
        "total",
        "arXiv 2505.13738, as cited by others",
        "second-hand: exponents as cited, constants unverified",
        {
            "batch_tokens": (("D",), lambda p: SEQUENCE * 0.0306 * p["D"] ** 0.383),
            "weight_decay": (
                ("N", "D", "lr", "batch_tokens"),
                lambda p: p["batch_tokens"] / (p["lr"] * p["D"] * 1.084 * (p["D"] / p["N"]) ** -0.527),
            ),
        },
        {"batch_tokens": {"D": 0.383}},
    ),
    _law(
        "wang-aitchison",
        "Wang and Aitchison 2024",
        "AdamW timescale 1/(lr wd) iterations, constant in epochs: wd ~ 1/D",
        "a rule for moving a tuned weight decay; it has no constant",
        "none",
        "arXiv 2405.13698",
        "verified",
        {},
        {"weight_decay": {"D": -1.0}},
    ),
    _law(
        "schaipp",
        "Schaipp et al.",
        "L = E + A/N^a + B/M^b + C/K^g (M batch tokens, K steps); M* = .667 D^.566",
        "B in tokens",
        "none",
        "as cited by others",
        "second-hand",
        {"batch_tokens": (("D",), lambda p: 0.667 * p["D"] ** 0.566)},
        {"batch_tokens": {"D": 0.566}},
    ),
)
LAWS: Mapping[str, PublishedLaw] = {law.name: law for law in _LAWS}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence for a law: the span of its axes, and uncertainties.

    ``covariance``: of (intercept, exponents) of each knob, with logs centered at ``center``; ``hessian``: curvature
    (knobs, knobs) of log loss in natural logs, None if unknown.
    """

    span: Mapping[str, tuple[float, float]]
    center: Mapping[str, float]
    covariance: Mapping[str, tuple[tuple[float, ...], ...]]
    hessian: tuple[tuple[float, float], tuple[float, float]] | None


# Step Law: span of the released runs (dense table, 17 cells); covariance of its tool's 1000 released parameter sets
# (row resamples, hence too narrow), of (1, ln N, ln D) at these centers; curvature of our joint surface on the table.
EVIDENCE: Mapping[str, Evidence] = {
    "step-law": Evidence(
        span={"N": (2.147e8, 1.0738e9), "D": (4e9, 1e11)},
        center={"N": 5e8, "D": 3e10},
        covariance={
            "lr": ((6.30e-4, 9.20e-5, 2.127e-4), (9.20e-5, 8.915e-4, -1.743e-4), (2.127e-4, -1.743e-4, 3.663e-4)),
            "batch_tokens": ((7.09e-4, 0.0, 2.562e-4), (0.0, 0.0, 0.0), (2.562e-4, 0.0, 3.485e-4)),
        },
        hessian=((0.01027, -0.00508), (-0.00508, 0.01046)),
    )
}
