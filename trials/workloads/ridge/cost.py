"""FLOPs and memory of one trial of ridge regression, by the sizes of its matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.workloads.ridge.knobs import SIZES

CONVENTION = "matrix products and Cholesky"
BYTES = 8  # of a 64-bit float


def cost(values: Mapping[str, Any]) -> Cost:
    """Return the cost of a trial: N is the number of features of all predictors, D that of samples.

    Two FLOPs a multiply-add. Each predictor takes its features of the samples (2 n p k), the smaller Gram matrix of
    m = min(n, k) rows (2 m^2 max(n, k)), its factor (m^3 / 3), two triangular solves (2 m^2), and products with vectors
    (4 n k + 2 p k). Random numbers and the theory are not counted.
    """
    n, k, p, predictors = (values[name] for name in SIZES)
    m = min(n, k)
    flops = predictors * (
        2.0 * n * p * k + 2.0 * m * m * max(n, k) + m**3 / 3 + 2.0 * m * m + 4.0 * n * k + 2.0 * p * k
    )
    return Cost(
        params=predictors * k,
        params_embedding=0,
        params_non_embedding=predictors * k,
        tokens=n,
        unique_tokens=n,
        epochs=1.0,
        steps=1,
        flops_per_token=flops / n,
        flops=flops,
        flops_convention=CONVENTION,
        memory_bytes=memory_bytes(values),
    )


def memory_bytes(values: Mapping[str, Any]) -> int:
    """Return the bytes of a trial: samples, directions of the features and their values, Gram matrix and factor."""
    n, k, p, predictors = (int(values[name]) for name in SIZES)
    return BYTES * (n * p + predictors * (p * k + 2 * n * k + 3 * min(n, k) ** 2) + 4 * p)
